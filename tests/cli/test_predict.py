# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from ovseg_mm.cli import main
from ovseg_mm.cli.predict import find_images

from ..end_to_end.conftest import TINY


@pytest.fixture
def predict(trained, tmp_path, capsys):
    """Runs the command; its exit status and what it printed."""

    def run(*arguments, checkpoint=trained, out=tmp_path / 'out'):
        options = ['--config', TINY, '--checkpoint', checkpoint]
        if out:
            options += ['--out', out]
        status = main(['predict', *map(str, [*arguments, *options])])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def picture(tiny_data):
    return tiny_data / 'images' / 'val' / '1.jpg'


def test_words(predict, picture, tmp_path):
    status, printed, _ = predict(
        picture, '--classes', 'a crimson thing; sea|ocean', 'moss'
    )
    assert status == 0
    out = tmp_path / 'out'
    assert sorted(os.listdir(out)) == [
        '1_labels.png',
        '1_overlay.png',
        'classes.json',
    ]
    labels = np.asarray(Image.open(out / '1_labels.png'))
    assert labels.shape == (64, 130) and labels.dtype == np.uint8
    names = json.loads((out / 'classes.json').read_text())
    assert names == ['a crimson thing', 'sea', 'moss']
    for value in np.unique(labels):
        share = (labels == value).mean()
        assert f'{names[value]} {share:.1%}' in printed
    overlay = np.asarray(Image.open(out / '1_overlay.png'))
    assert overlay.shape[1] >= 130 and overlay.shape[2] == 3
    assert overlay.std() > 5


def test_folder_and_word_file(predict, tiny_data, tmp_path):
    words = tmp_path / 'words.txt'
    words.write_text('stone\nfish|trout\n')
    folder = tiny_data / 'images' / 'val'
    status, printed, _ = predict(folder, '--classes', words)
    assert status == 0
    written = sorted(path.name for path in (tmp_path / 'out').glob('*.png'))
    assert len(written) == 10
    names = json.loads((tmp_path / 'out' / 'classes.json').read_text())
    assert names == ['stone', 'fish']


def test_a_damaged_picture_does_not_stop_the_others(
    predict, tiny_data, tmp_path
):
    folder = shutil.copytree(tiny_data / 'images' / 'val', tmp_path / 'in')
    damaged = folder / '1.jpg'
    damaged.write_bytes(damaged.read_bytes()[:100])
    status, _, error = predict(folder, '--classes', 'stone')
    assert status == 1
    (line,) = error.splitlines()
    assert line.startswith(f'error: {damaged} cannot be read')
    written = {path.name for path in (tmp_path / 'out').iterdir()}
    assert len(written) == 9 and 'classes.json' in written
    assert {'0_labels.png', '2_labels.png'} < written


@pytest.mark.parametrize('device', ['banana', 'meta', 'xpu'])
def test_devices_that_are_none(predict, picture, device):
    status, _, error = predict(picture, '--classes', 'a', '--device', device)
    assert status == 2
    (line,) = error.splitlines()
    assert line.startswith(f"error: the device '{device}' cannot be used")


def test_shipped_vocabulary_of_many_labels(predict, picture, tmp_path):
    assert predict(picture, '--classes', 'pc459')[0] == 0
    with Image.open(tmp_path / 'out' / '1_labels.png') as image:
        labels = np.asarray(image)
        assert image.mode.startswith('I'), 'label values need 16 bits'
    assert labels.max() < 459


def test_one_word_marks_what_it_names_and_leaves_the_rest(predict, picture):
    status, printed, _ = predict(picture, '--classes', 'moss')
    assert status == 0


def test_pictures_of_one_name_do_not_overwrite_each_other(
    predict, picture, tmp_path
):
    other = shutil.copy(picture, tmp_path / '1.jpg')
    assert predict(picture, other, '--classes', 'a;b')[0] == 0
    assert (tmp_path / 'out' / '1_labels.png').is_file()
    assert (tmp_path / 'out' / '1-2_labels.png').is_file()


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['gone.jpg', '--classes', 'a'], 'gone.jpg: there is no such image'),
        (['empty', '--classes', 'a'], 'empty has no picture in it'),
        (['broken.jpg', '--classes', 'a'], 'broken.jpg'),
        (['1.jpg', '--classes', 'cat, dog'], 'separate classes with ";"'),
        (['1.jpg', '--classes', ';'], 'class'),
        (['1.jpg', '--classes', 'gone.json'], 'gone.json'),
        (['1.jpg', '--classes', 'wrong.json'], 'wrong.json'),
    ],
)
def test_bad_input(predict, picture, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    shutil.copy(picture, tmp_path / '1.jpg')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'broken.jpg').write_bytes(picture.read_bytes()[:100])
    (tmp_path / 'wrong.json').write_text('{"cat": 1}')
    status, _, error = predict(*arguments)
    assert status == 2
    assert error.startswith('error: ') and words in error
    assert len(error.splitlines()) == 1
    assert not list((tmp_path / 'out').glob('*.png'))


def test_bad_checkpoint_and_bad_folder(predict, picture, tmp_path):
    gone = tmp_path / 'gone.pth'
    status, _, error = predict(picture, '--classes', 'a', checkpoint=gone)
    assert status == 2 and str(gone) in error
    (tmp_path / 'file').write_text('')
    status, _, error = predict(
        picture, '--classes', 'a', out=tmp_path / 'file'
    )
    assert status == 2 and f'{tmp_path / "file"}' in error


def test_pictures_of_a_folder(tmp_path):
    for name in ('b.PNG', 'a.jpeg', 'notes.txt', '.hidden'):
        (tmp_path / name).write_text('')
    (tmp_path / 'deeper.jpg').mkdir()
    found = find_images([tmp_path, tmp_path / 'notes.txt'])
    assert [path.name for path in found] == ['a.jpeg', 'b.PNG', 'notes.txt']
