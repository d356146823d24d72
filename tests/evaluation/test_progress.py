# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from ovseg_mm.evaluation.progress import EvaluationProgress


def write(progress, rank, *names):
    with progress.open(rank) as file:
        for number, name in enumerate(names):
            progress.write(file, name, (np.array([number]), np.array([7])))


def test_files_of_all_processes_are_read(tmp_path):
    progress = EvaluationProgress(tmp_path / 'a' / 'set', dict(window=(3, 4)))
    assert progress.read() == {}
    write(progress, 0, 'x', 'y')
    write(progress, 1, 'z')
    again = EvaluationProgress(tmp_path / 'a' / 'set', dict(window=[3, 4]))
    done = again.read()
    assert set(done) == {'x', 'y', 'z'}
    pairs, pixels = done['y']
    assert (pairs.tolist(), pixels.tolist()) == ([1], [7])
    assert pairs.dtype == pixels.dtype == np.int64


def test_half_a_line_does_not_spoil_the_next(tmp_path):
    progress = EvaluationProgress(tmp_path, {})
    write(progress, 0, 'x', 'y')
    path = tmp_path / 'images_0.jsonl'
    path.write_text(path.read_text()[:-6])
    assert set(progress.read()) == {'x'}
    write(progress, 0, 'y', 'z')
    assert set(progress.read()) == {'x', 'y', 'z'}


def test_other_settings_are_named(tmp_path):
    EvaluationProgress(tmp_path, dict(a=1, b=2))
    with pytest.raises(ValueError, match=r'evaluation \(b, c differ\)'):
        EvaluationProgress(tmp_path, dict(a=1, b=3, c=4))
