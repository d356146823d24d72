# SPDX-License-Identifier: Apache-2.0
"""The demo, with a small budget."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from .conftest import ROOT, environment, run

pytestmark = pytest.mark.slow


OPTIONS = ('--iters', 20, '--num-val', 8, '--out', 'out')


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Folder and printed text of a whole demo."""
    folder = tmp_path_factory.mktemp('demo')
    command = ('python', ROOT / 'tools' / 'demo.py', *OPTIONS)
    return folder / 'out', run(*command, cwd=folder)


@pytest.fixture
def demo(tool, monkeypatch):
    """Runs the demo in this process; what it printed."""
    for name in ('PATH', 'PORT'):
        monkeypatch.setenv(name, environment()[name])

    def run_demo(folder, *options, status=0):
        found, printed = tool('demo', *OPTIONS, *options, cwd=folder)
        assert found == status, printed
        return printed

    return run_demo


def test_table_compares_the_test_with_the_control(finished):
    out, printed = finished
    lines = printed.splitlines()
    (head,) = (n for n, line in enumerate(lines) if 'harmonic' in line)
    test, control = (
        [float(cell) for cell in line.split()[-3:]]
        for line in lines[head + 1 : head + 3]
    )
    assert all(0 <= value <= 100 for value in test + control)
    # The shipped CLIP knows the words, so even a short training shows it.
    assert test[0] > 2 * control[0] and test[1] > 2 * control[1]


def test_pictures_are_drawn(finished):
    out, printed = finished
    pictures = sorted((out / 'test' / 'pictures').glob('*.png'))
    assert len(pictures) == 8
    for picture in pictures:
        assert np.asarray(Image.open(picture)).std() > 5, 'it is blank'
    for name in ('without_training', 'predict'):
        overlay = out / name / 'picture_overlay.png'
        assert str(overlay.relative_to(out.parent)) in printed
        assert np.asarray(Image.open(overlay)).std() > 5


def test_typed_words_are_none_of_the_training_labels(finished):
    out, _ = finished
    typed = set(json.loads((out / 'predict' / 'classes.json').read_text()))
    world = json.loads((ROOT / 'data' / 'toy_world.json').read_text())
    trained = set(world['class_texts']) - set(world['unseen'])
    assert len(typed) == 13 and not typed & trained


def test_what_is_done_is_kept(finished, demo):
    out, printed = finished
    checkpoint = out / 'train' / 'iter_20.pth'
    before = checkpoint.stat().st_mtime_ns
    shutil.rmtree(out / 'control')
    again = demo(out.parent)
    assert checkpoint.stat().st_mtime_ns == before
    assert '$ mim train' not in again
    assert again.count('$ mim test') == 1, 'the control alone is made again'
    table = printed.splitlines()[-6:]
    assert again.splitlines()[-6:] == table


def test_other_options_need_another_folder(finished, demo):
    out, _ = finished
    error = demo(out.parent, '--seed', 1, status=2).splitlines()[-1]
    assert error.startswith('error: ') and '--out' in error


def test_no_training_is_refused(demo, tmp_path):
    error = demo(tmp_path, '--iters', 0, status=2).splitlines()[-1]
    assert error == 'error: --iters 0 must be at least 1'
    assert not list(tmp_path.iterdir())
