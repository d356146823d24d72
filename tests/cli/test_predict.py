# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg_mm.apis import OpenVocabInferencer
from ovseg_mm.cli import main
from ovseg_mm.models.decode_heads import CATSegCostHead
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.picture_files import find_images, find_jobs

from ..end_to_end.conftest import TINY


@pytest.fixture
def predict(trained, tmp_path, capsys):
    """Runs the command; its exit status and what it printed."""

    def run(*arguments, config=TINY, checkpoint=trained, out=tmp_path / 'out'):
        options = ['--config', config, '--checkpoint', checkpoint]
        if out:
            options += ['--out', out]
        status = main(['predict', *map(str, [*options, *arguments])])
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
        'results.jsonl',
        'results_settings.json',
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
    assert len(written) == 11 and 'classes.json' in written
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


def test_one_word_marks_what_it_names_and_leaves_the_rest(
    predict, picture, trained, tmp_path
):
    inferencer = OpenVocabInferencer(TINY, trained, 'cpu')
    result = inferencer(picture, ['moss'], scores='all')
    (scores,) = np.asarray(result.scores)
    # The middle of the scores, so that one half is marked.
    threshold = float(np.median(scores))
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = {str(TINY)!r}\n'
        f'model = dict(test_cfg=dict(threshold={threshold!r}))'
    )
    status, printed, _ = predict(picture, '--classes', 'moss', config=config)
    assert status == 0
    labels = np.asarray(Image.open(tmp_path / 'out' / '1_labels.png'))
    marked = scores > threshold
    assert 0.4 < marked.mean() < 0.6
    assert (labels == np.where(marked, 0, 255)).all()
    assert f'moss {marked.mean():.1%}' in printed


@pytest.mark.parametrize(
    'words, help',
    [
        (
            'moss',
            'nothing found; add classes for the rest of the image, such ',
        ),
        (
            'moss;sea',
            'nothing found; use other class texts, or a lower --score-',
        ),
    ],
)
def test_nothing_found_says_so(
    predict, picture, tmp_path, monkeypatch, words, help
):
    real = CATSegCostHead.activate
    monkeypatch.setattr(
        CATSegCostHead, 'activate', lambda *args: real(*args) * 0
    )
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = {str(TINY)!r}\nmodel = dict(test_cfg=dict(threshold=0.5))'
    )
    status, printed, _ = predict(picture, '--classes', words, config=config)
    assert status == 0
    assert f'{picture}: {help}' in printed
    labels = np.asarray(Image.open(tmp_path / 'out' / '1_labels.png'))
    assert (labels == 255).all()


def test_classes_before_pictures(predict, picture, tiny_data, tmp_path):
    other = shutil.copy(picture, tmp_path / 'other.jpg')
    status, printed, error = predict('--classes', 'a', 'b', picture, other)
    assert status == 0
    assert error == (f'read as images, not as classes: {picture}, {other}\n')
    names = json.loads((tmp_path / 'out' / 'classes.json').read_text())
    assert names == ['a', 'b']
    assert (tmp_path / 'out' / 'other_labels.png').is_file()
    folder = tiny_data / 'images' / 'val'
    out = tmp_path / 'more'
    arguments = ['--classes', 'a', '--classes', 'b', folder]
    status, _, error = predict(*arguments, out=out)
    assert status == 0 and str(folder) in error
    assert json.loads((out / 'classes.json').read_text()) == ['a', 'b']
    assert len(list(out.glob('*_labels.png'))) == 5


def test_config_and_checkpoint_in_each_others_place(
    predict, picture, trained, tmp_path
):
    for config, checkpoint in ((trained, TINY), (TINY, TINY)):
        status, _, error = predict(
            picture, '--classes', 'a', config=config, checkpoint=checkpoint
        )
        assert status == 2
        (line,) = error.splitlines()
        assert 'whether the checkpoint and the config are swapped' in line
    assert not list((tmp_path / 'out').glob('*'))


def test_pictures_are_not_overwritten(predict, picture, tmp_path):
    folder = tmp_path / 'out'
    folder.mkdir()
    shutil.copy(picture, folder / 'a.jpg')
    Image.open(picture).save(folder / 'a_overlay.png')
    before = (folder / 'a_overlay.png').read_bytes()
    status, _, error = predict(folder, '--classes', 'a')
    assert status == 2
    assert f'overwrite the image {folder / "a_overlay.png"}' in error
    assert (folder / 'a_overlay.png').read_bytes() == before
    assert len(list(folder.iterdir())) == 2


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
        (
            ['empty', '--classes', 'a'],
            'empty and its sub-folders have no image',
        ),
        (['broken.jpg', '--classes', 'a'], 'broken.jpg'),
        (['nothing.jpg', '--classes', 'a'], 'nothing.jpg cannot be read as '),
        (['text.jpg', '--classes', 'a'], 'text.jpg cannot be read as an'),
        (['link.jpg', '--classes', 'a'], 'is a link to gone.png, which does'),
        (['pipe.jpg', '--classes', 'a'], 'is neither a file nor a folder'),
        (['1.jpeg', '--classes', 'a'], 'did you mean 1.jpg?'),
        (['*.bmp', '--classes', 'a'], 'no image matches the pattern *.bmp'),
        (['http://x.org/a.jpg', '--classes', 'a'], 'download the image'),
        (['~nobody_here/a.jpg', '--classes', 'a'], 'no home folder ~nobody_'),
        (['a' * 5000 + '.jpg', '--classes', 'a'], 'characters'),
        (['deep', '--classes', 'a'], 'deep and its sub-folders have no image'),
        (['--classes', 'a', 'b'], 'no image is given; write: predict IMAGE'),
        (['--classes', '1.jpg'], 'has no class text, only the image 1.jpg'),
        (['--classes', 'a', 'gone.jpg'], 'gone.jpg: there is no such image'),
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
    (tmp_path / 'nothing.jpg').write_bytes(b'')
    (tmp_path / 'text.jpg').write_text('a text')
    (tmp_path / 'link.jpg').symlink_to('gone.png')
    os.mkfifo(tmp_path / 'pipe.jpg')
    (tmp_path / 'deep' / 'er').mkdir(parents=True)
    status, _, error = predict(*arguments)
    assert status == 2
    *_, line = error.splitlines()
    assert line.startswith('error: ') and words in line and len(line) < 600
    assert [other[:5] for other in error.splitlines()[:-1]] in ([], ['read '])
    assert not list((tmp_path / 'out').glob('*.png'))


def test_bad_checkpoint_and_bad_folder(predict, picture, tmp_path):
    gone = tmp_path / 'gone.pth'
    status, _, error = predict(picture, '--classes', 'a', checkpoint=gone)
    assert status == 2 and str(gone) in error
    (tmp_path / 'file').write_text('')
    status, _, error = predict(
        picture, '--classes', 'a', out=tmp_path / 'file'
    )
    assert status == 2
    assert f'{tmp_path / "file"} cannot be written (it is a file, not a f' in (
        error
    )
    out = tmp_path / 'file' / 'deeper'
    status, _, error = predict(picture, '--classes', 'a', out=out)
    assert status == 2 and f'{out} cannot be written (' in error


def test_pictures_of_a_folder(tmp_path):
    for name in ('b.PNG', 'a.jpeg', 'notes.txt', '.hidden.jpg', '._b.png'):
        (tmp_path / name).write_text('')
    (tmp_path / 'deeper.jpg').mkdir()
    (tmp_path / 'lost.jpg').symlink_to('gone.jpg')
    found = find_images([tmp_path, tmp_path / 'notes.txt'])
    names = [path.name for path in found]
    assert names == ['a.jpeg', 'b.PNG', 'lost.jpg', 'notes.txt']
    link = tmp_path.parent / 'link'
    link.symlink_to(tmp_path)
    assert [path.name for path in find_images([link])] == names[:3]
    link.unlink()


def test_patterns_and_repeated_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'x').mkdir()
    for name in ('b.png', 'a.jpg', 'a.txt', 'x/c.jpg', '[1].jpg'):
        (tmp_path / name).write_text('')

    def found(*names):
        return [
            str(p.relative_to(tmp_path))
            for p in map(Path.absolute, find_images(names))
        ]

    assert found('*') == ['[1].jpg', 'a.jpg', 'b.png']
    assert found('~/*.jpg') == ['[1].jpg', 'a.jpg']
    assert found('**/*.jpg') == ['[1].jpg', 'a.jpg', 'x/c.jpg']
    assert found('[1].jpg') == ['[1].jpg']
    assert found('a.jpg', tmp_path / 'a.jpg', '.', './a.jpg') == [
        'a.jpg',
        '[1].jpg',
        'b.png',
        'x/c.jpg',
    ]
    with pytest.raises(InputError, match='file:/.* is a URL'):
        find_images(['file:///a.jpg'])


def test_names_of_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = ('x/a.jpg', 'x/y/b.c.jpg', 'a.png', 'y/a.jpg', 'x/out/o.png')
    for path in (*map(Path, paths), Path('x/.hidden/h.png')):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('')
    Path('x/loop').symlink_to('..')

    def names(*given):
        return [job.name for job in find_jobs(given, Path('x/out'))]

    assert names('x') == ['a', 'loop/a', 'loop/y/a', 'y/b.c']
    assert names('x/a.jpg', 'a.png', 'y/a.jpg') == ['a', 'a-2', 'a-3']
    Path('x/loop').unlink()
    assert names('x/**/*.jpg') == ['a', 'y/b.c']
    assert names('x/y/*') == ['b.c']
