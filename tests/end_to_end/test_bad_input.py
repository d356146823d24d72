# SPDX-License-Identifier: Apache-2.0
"""Bad input ends with one sentence that says what to do."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from .conftest import TINY, data_options, run

pytestmark = pytest.mark.slow


@pytest.fixture
def own_data(tiny_data, tmp_path):
    """A copy of the data set that may be spoiled."""
    return shutil.copytree(tiny_data, tmp_path / 'data')


def script(name, *arguments, cwd, status):
    from .conftest import ROOT

    return run(
        'python', ROOT / 'tools' / name, *arguments, cwd=cwd, status=status
    )


def train(data, cwd, *options, status=None):
    output = script(
        'train.py',
        TINY,
        '--work-dir',
        cwd / 'work',
        '--cfg-options',
        *data_options(data),
        'train_cfg.max_iters=3',
        *options,
        cwd=cwd,
        status=status,
    )
    return output.strip().splitlines()


def final_error(lines):
    return next(line for line in reversed(lines) if 'rror' in line)


def test_corrupt_image(own_data, tmp_path):
    for path in (own_data / 'images' / 'train').iterdir():
        path.write_bytes(path.read_bytes()[:200])
    error = final_error(train(own_data, tmp_path, status=1))
    assert str(own_data / 'images' / 'train') in error


def test_missing_image_folder(own_data, tmp_path):
    shutil.rmtree(own_data / 'images' / 'train')
    error = final_error(train(own_data, tmp_path, status=1))
    assert str(own_data / 'images' / 'train') in error


def test_label_out_of_range(own_data, tmp_path):
    for path in (own_data / 'annotations' / 'train').iterdir():
        labels = np.asarray(Image.open(path)).copy()
        labels[:] = 77
        Image.fromarray(labels).save(path)
    error = final_error(train(own_data, tmp_path, status=1))
    assert '77' in error and 'annotations/train' in error


def test_vocabulary_that_does_not_fit_the_data(own_data, tmp_path):
    error = final_error(
        train(own_data, tmp_path, "model.vocabulary=['a','b']", status=1)
    )
    assert '4 labels' in error and '2' in error


def test_wrong_class_json(own_data, tmp_path):
    wrong = tmp_path / 'words.json'
    wrong.write_text(json.dumps({'cat': 1}))
    error = final_error(
        train(own_data, tmp_path, f'model.vocabulary={wrong}', status=2)
    )
    assert str(wrong) in error and 'list' in error


def test_missing_clip_weights(own_data, tmp_path):
    error = final_error(
        train(
            own_data,
            tmp_path,
            'model.clip.custom_clip_weights=/nowhere/ViT-B-16.pt',
            status=1,
        )
    )
    assert '/nowhere/ViT-B-16.pt' in error


def test_unreachable_hub_names_the_file_to_get(own_data, tmp_path):
    error = final_error(
        train(
            own_data,
            tmp_path,
            'model.clip.arch=ViT-B-16',
            'model.clip.pretrained=openai',
            'model.neck.in_channels=768',
            'model.decode_head.text_channels=512',
            'model.decode_head.appearance_channels=512',
            status=1,
        )
    )
    assert 'custom_clip_weights' in error


def test_unwritable_work_dir(own_data, tmp_path):
    (tmp_path / 'work').write_text('a file, not a folder')
    error = final_error(train(own_data, tmp_path, status=2))
    assert str(tmp_path / 'work') in error and '--work-dir' in error


def test_checkpoints_that_are_none(trained, tiny_data, tmp_path):
    whole = (trained / 'iter_8.pth').read_bytes()
    truncated = tmp_path / 'truncated.pth'
    truncated.write_bytes(whole[: len(whole) // 2])
    other = tmp_path / 'other.pth'
    torch.save({'state_dict': {'backbone.stem.weight': torch.ones(3)}}, other)
    clip = tmp_path / 'missing.pth'
    for path, part in (
        (truncated, 'truncated.pth'),
        (other, 'other.pth'),
        (clip, 'missing.pth'),
    ):
        output = script(
            'test.py',
            TINY,
            path,
            '--work-dir',
            tmp_path / 'work',
            '--cfg-options',
            *data_options(tiny_data),
            cwd=tmp_path,
            status=2,
        )
        lines = output.strip().splitlines()
        assert lines[-1].startswith('error: ') and part in lines[-1]


def test_missing_config(tmp_path):
    output = script('train.py', 'nothing.py', cwd=tmp_path, status=2)
    assert 'nothing.py' in output.splitlines()[-1]
    assert not os.listdir(tmp_path), 'nothing is left behind'
