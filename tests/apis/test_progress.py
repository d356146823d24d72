# SPDX-License-Identifier: Apache-2.0
import os

import numpy as np
import pytest

from ovseg_mm.apis.progress import EvaluationProgress
from ovseg_mm.utils.errors import InputError

STAMPS = {name: [[number, 10]] for number, name in enumerate('xyz')}


def write(progress, rank, *names):
    with progress.open(rank) as file:
        for number, name in enumerate(names):
            counts = np.array([number]), np.array([7])
            progress.write(file, name, STAMPS[name], counts)


def test_files_of_all_processes_are_read(tmp_path):
    progress = EvaluationProgress(tmp_path / 'a' / 'set', dict(window=(3, 4)))
    assert progress.read(STAMPS) == {}
    write(progress, 0, 'x', 'y')
    write(progress, 1, 'z')
    again = EvaluationProgress(tmp_path / 'a' / 'set', dict(window=[3, 4]))
    done = again.read(STAMPS)
    assert set(done) == {'x', 'y', 'z'}
    pairs, pixels = done['y']
    assert (pairs.tolist(), pixels.tolist()) == ([1], [7])
    assert pairs.dtype == pixels.dtype == np.int64


def test_half_a_line_does_not_spoil_the_next(tmp_path):
    progress = EvaluationProgress(tmp_path, {})
    write(progress, 0, 'x', 'y')
    path = tmp_path / 'images_0.jsonl'
    path.write_text(path.read_text()[:-6])
    assert set(progress.read(STAMPS)) == {'x'}
    write(progress, 0, 'y', 'z')
    assert set(progress.read(STAMPS)) == {'x', 'y', 'z'}


def test_what_was_counted_with_other_files_is_left_out(tmp_path):
    progress = EvaluationProgress(tmp_path, {})
    write(progress, 1, 'x', 'y')
    stamps = dict(STAMPS, x=[[0, 11]])
    assert set(progress.read(stamps)) == {'y'}
    with progress.open(0) as file:
        progress.write(file, 'x', stamps['x'], (np.array([5]), np.array([6])))
    # Whichever file is read last.
    assert progress.read(stamps)['x'][0].tolist() == [5]
    assert progress.read(STAMPS)['x'][0].tolist() == [0]


def test_other_settings_are_named(tmp_path):
    EvaluationProgress(tmp_path, dict(a=1, b=2))
    with pytest.raises(InputError, match=r'evaluation \(different: b, c\)'):
        EvaluationProgress(tmp_path, dict(a=1, b=3, c=4))


def test_links_and_pipes_are_not_written(tmp_path):
    victim = tmp_path / 'victim'
    victim.write_text('old')
    progress = EvaluationProgress(tmp_path / 'a', {})
    (tmp_path / 'a' / 'images_0.jsonl').symlink_to(victim)
    os.mkfifo(tmp_path / 'a' / 'images_1.jsonl')
    for rank in (0, 1):
        with pytest.raises(OSError, match=f'images_{rank}.jsonl'):
            progress.open(rank)
    assert victim.read_text() == 'old'


def test_settings_that_are_damaged(tmp_path):
    path = tmp_path / 'settings.json'
    path.write_text('{"a": ')
    with pytest.raises(InputError, match=f'{path} is damaged'):
        EvaluationProgress(tmp_path, dict(a=1))
