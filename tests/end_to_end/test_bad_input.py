# SPDX-License-Identifier: Apache-2.0
"""Bad input ends with one sentence that says what to do."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor

from .conftest import ROOT, TINY, data_options, run

pytestmark = pytest.mark.slow


@pytest.fixture
def own_data(tiny_data, tmp_path):
    """A copy of the data set that may be spoiled."""
    return shutil.copytree(tiny_data, tmp_path / 'data')


def train_options(data, folder, *options):
    return [
        *(TINY, '--work-dir', folder / 'work', '--cfg-options'),
        *(*data_options(data), 'train_cfg.max_iters=3', *options),
    ]


@pytest.fixture
def train(tool, own_data, tmp_path):
    """Trains on the spoiled data; exit status and the last line."""

    def run_training(*options):
        status, output = tool(
            'train', *train_options(own_data, tmp_path, *options)
        )
        return status, output.strip().splitlines()[-1]

    return run_training


def test_corrupt_image(train, own_data, tmp_path):
    for path in (own_data / 'images' / 'train').iterdir():
        path.write_bytes(path.read_bytes()[:200])
    status, error = train()
    assert status == 2 and error.startswith('error: ')
    assert str(own_data / 'images' / 'train') in error
    # What the shell sees is the same.
    output = run(
        'python',
        ROOT / 'tools' / 'train.py',
        *train_options(own_data, tmp_path),
        cwd=tmp_path,
        status=2,
    )
    assert str(own_data / 'images' / 'train') in output.splitlines()[-1]


def test_missing_image_folder(train, own_data):
    shutil.rmtree(own_data / 'images' / 'train')
    status, error = train()
    assert status == 2 and error.startswith('error: ')
    assert str(own_data / 'images' / 'train') in error


def test_label_out_of_range(train, own_data):
    for path in (own_data / 'annotations' / 'train').iterdir():
        labels = np.asarray(Image.open(path)).copy()
        labels[:] = 77
        Image.fromarray(labels).save(path)
    status, error = train()
    assert status == 2 and error.startswith('error: ')
    assert '77' in error and 'annotations/train' in error


@pytest.mark.parametrize('kind', ['damaged', 'of another size'])
def test_label_files_that_are_wrong(train, own_data, kind):
    folder = own_data / 'annotations' / 'train'
    for path in folder.iterdir():
        if kind == 'damaged':
            path.write_bytes(path.read_bytes()[:60])
        else:
            Image.fromarray(np.zeros((5, 7), np.uint8)).save(path)
    # In the process of a data loader, too, whose message is a traceback.
    status, error = train('train_dataloader.num_workers=1')
    assert status == 2 and error.startswith(f'error: the label file {folder}')
    assert 'Traceback' not in error


def test_errors_of_the_code_keep_their_traceback(
    tool, own_data, tmp_path, monkeypatch
):
    def loss(self, *args, **kwargs):
        raise ValueError('a bug')

    monkeypatch.setattr(BaseOpenVocabSegmentor, 'loss', loss)
    status, output = tool('train', *train_options(own_data, tmp_path))
    assert status == 1
    assert output.strip().endswith('ValueError: a bug')
    assert 'Traceback' in output


def test_debugging_shows_the_traceback(tool, own_data, tmp_path, monkeypatch):
    monkeypatch.setenv('OVSEG_DEBUG', '1')
    shutil.rmtree(own_data / 'images' / 'train')
    status, output = tool('train', *train_options(own_data, tmp_path))
    assert status == 1 and 'Traceback' in output


def test_damaged_images_of_a_test(tool, trained, own_data, tmp_path):
    for path in (own_data / 'images' / 'val').iterdir():
        path.write_bytes(path.read_bytes()[:40])
    status, output = tool(
        *('test', TINY, trained / 'iter_8.pth'),
        *('--work-dir', tmp_path / 'work', '--cfg-options'),
        *data_options(own_data),
    )
    error = output.strip().splitlines()[-1]
    assert status == 2 and error.startswith('error: ')
    assert str(own_data / 'images' / 'val') in error


@pytest.mark.parametrize('workers', [0, 1])
def test_missing_label_file_of_a_test(
    tool, trained, own_data, tmp_path, workers
):
    labels = own_data / 'annotations' / 'val' / '3.png'
    labels.unlink()
    status, output = tool(
        *('test', TINY, trained / 'iter_8.pth'),
        *('--work-dir', tmp_path / 'work', '--cfg-options'),
        *(*data_options(own_data), f'test_dataloader.num_workers={workers}'),
    )
    error = output.strip().splitlines()[-1]
    assert status == 2
    assert error.startswith('error: ') and str(labels) in error
    assert 'Errno' not in error and 'Traceback' not in error


def test_vocabulary_that_does_not_fit_the_data(train):
    status, error = train("model.vocabulary=['a','b']")
    assert status == 2 and error.startswith('error: ')
    assert '4 labels' in error and '2' in error


def test_wrong_class_json(train, tmp_path):
    wrong = tmp_path / 'words.json'
    wrong.write_text(json.dumps({'cat': 1}))
    status, error = train(f'model.vocabulary={wrong}')
    assert status == 2
    assert error.startswith('error: ')
    assert str(wrong) in error and 'list' in error


def test_missing_clip_weights(train):
    weights = '/nowhere/ViT-B-16.pt'
    status, error = train(f'model.clip.custom_clip_weights={weights}')
    assert status == 2 and error.startswith('error: ')
    assert weights in error


def test_unreachable_hub_names_the_file_to_get(train):
    status, error = train(
        'model.clip.arch=ViT-B-16',
        'model.clip.pretrained=openai',
        'model.neck.in_channels=768',
        'model.decode_head.text_channels=512',
        'model.decode_head.appearance_channels=512',
    )
    assert status == 2 and error.startswith('error: ')
    assert 'custom_clip_weights' in error


def test_training_images_smaller_than_a_patch(train, own_data):
    status, error = train(
        'train_dataloader.dataset.pipeline.2.crop_size=(4, 4)'
    )
    assert status == 2
    assert 'image of 4x4 pixels is smaller than one patch' in error
    files = re.findall(r'images/train/\d\.jpg', error)
    assert len(files) == 2 and str(own_data) in error


def test_unwritable_work_dir(train, tmp_path):
    (tmp_path / 'work').write_text('a file, not a folder')
    status, error = train()
    assert status == 2
    assert str(tmp_path / 'work') in error and '--work-dir' in error


@pytest.mark.parametrize('kind', ['truncated', 'other', 'missing'])
def test_checkpoints_that_are_none(kind, tool, trained, tiny_data, tmp_path):
    path = tmp_path / f'{kind}.pth'
    if kind == 'truncated':
        whole = (trained / 'iter_8.pth').read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == 'other':
        weights = {'backbone.stem.weight': torch.ones(3)}
        torch.save({'state_dict': weights}, path)
    status, output = tool(
        *('test', TINY, path, '--work-dir', tmp_path / 'work'),
        *('--cfg-options', *data_options(tiny_data)),
    )
    assert status == 2
    error = output.strip().splitlines()[-1]
    assert error.startswith('error: ') and path.name in error


def test_missing_config(tool, tmp_path):
    status, output = tool('train', 'nothing.py')
    assert status == 2
    assert 'nothing.py' in output.splitlines()[-1]
    assert not os.listdir(tmp_path), 'nothing is left behind'


class Evil:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return os.system, ('touch "$OVSEG_TEST_MARK"',)


@pytest.mark.parametrize('way', ['--resume', 'last_checkpoint', '--load-from'])
def test_checkpoints_that_hold_code(
    way, tool, trained, tiny_data, tmp_path, monkeypatch
):
    mark = tmp_path / 'mark'
    monkeypatch.setenv('OVSEG_TEST_MARK', str(mark))
    work = tmp_path / 'work'
    work.mkdir()
    place = work if way == '--resume' else tmp_path
    content = torch.load(trained / 'iter_8.pth', weights_only=True)
    torch.save({**content, 'x': Evil()}, place / 'iter_8.pth')
    (work / 'last_checkpoint').write_text(str(place / 'iter_8.pth'))
    options = [way, place / 'iter_8.pth']
    if way != '--load-from':
        options = ['--resume']
    status, output = tool(
        *('train', *options, *train_options(tiny_data, tmp_path))
    )
    assert status == 2 and not mark.exists()
    error = output.strip().splitlines()[-1]
    assert error.startswith(f'error: {place / "iter_8.pth"} cannot be read')
    assert 'posix.system, which is not allowed in weight files' in error


def test_a_loss_that_is_not_a_number(train, monkeypatch):
    loss = BaseOpenVocabSegmentor.loss

    def spoilt(self, *args):
        losses = loss(self, *args)
        return {name: value * torch.nan for name, value in losses.items()}

    monkeypatch.setattr(BaseOpenVocabSegmentor, 'loss', spoilt)
    status, error = train()
    assert status == 2
    assert error.startswith('error: the loss of iteration 1 is not a finite')
    assert 'images/train/' in error
