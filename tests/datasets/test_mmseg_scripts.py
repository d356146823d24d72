# SPDX-License-Identifier: Apache-2.0
"""MMSegmentation's analysis scripts work with our data sets."""

import importlib.util
from pathlib import Path

import mmseg
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

SCRIPT = Path(
    mmseg.__file__,
    '../.mim/tools/analysis_tools/confusion_matrix.py',
).resolve()
LABELS = [[0, 0, 1, 2], [1, 1, 2, 255]]
PREDICTED = [[0, 1, 1, 2], [1, 1, 0, 0]]


@pytest.fixture
def dataset(tmp_path):
    init_default_scope('mmseg')
    for folder, pixels in (
        ('images', np.zeros((2, 4, 3), np.uint8)),
        ('labels', np.array(LABELS, np.uint8)),
    ):
        (tmp_path / folder).mkdir()
        for name in 'ab':
            Image.fromarray(pixels).save(tmp_path / folder / f'{name}.png')
    return DATASETS.build(
        dict(
            type='OpenVocabDataset',
            vocabulary=['sky', 'wall', 'sofa|couch'],
            data_root=str(tmp_path),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadOpenVocabAnnotations'),
                dict(type='PackSegInputs'),
            ],
        )
    )


def test_confusion_matrix(dataset):
    pytest.importorskip('matplotlib')
    spec = importlib.util.spec_from_file_location('confusion', SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    results = [np.array(PREDICTED, np.uint8)] * 2
    matrix = script.calculate_confusion_matrix(dataset, results)
    assert matrix.tolist() == [[2, 2, 0], [0, 6, 0], [2, 0, 2]]
    assert dataset.METAINFO['classes'] == dataset.metainfo['classes']
    assert dataset.METAINFO['classes'][0] == 'sky'
