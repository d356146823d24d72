# SPDX-License-Identifier: Apache-2.0
"""Data sets inside of those of MMEngine and MMSegmentation."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from ovseg_mm.datasets import SkipUnseenImages

WORDS = ['cat', 'dog', 'tree', 'sky']
SPLIT = dict(class_texts=WORDS, unseen=['dog', 'sky'])
LOAD = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadOpenVocabAnnotations'),
]
HIDDEN = {
    'keep': {0: 0, 1: 1, 2: 2, 3: 3, 255: 255},
    'ignore': {0: 0, 1: 255, 2: 1, 3: 255, 255: 255},
    'mark': {0: 0, 1: -1, 2: 2, 3: -1, 255: 255},
}


@pytest.fixture(autouse=True)
def mmseg_scope():
    init_default_scope('mmseg')


@pytest.fixture
def inner(tmp_path):
    """Config of six images; the last one alone shows label 2."""
    rng = np.random.default_rng(0)
    for index in range(6):
        labels = rng.choice([0, 1, 3, 255], (5, 6)).astype(np.uint8)
        labels[0, 0] = 2 if index == 5 else 0
        labels = np.kron(labels, np.ones((4, 4), np.uint8))
        for name, pixels in (('labels', labels), ('images', labels * 50)):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name / f'{index}.png')
    return dict(
        type='OpenVocabDataset',
        vocabulary=SPLIT,
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.png',
        pipeline=LOAD,
    )


@pytest.mark.parametrize('unseen_labels', HIDDEN)
def test_mosaics_hide_unseen_labels(inner, unseen_labels):
    def mosaics(**options):
        dataset = DATASETS.build(
            dict(
                type='MultiImageMixDataset',
                dataset=dict(inner, **options),
                pipeline=[
                    dict(type='RandomMosaic', prob=1.0, img_scale=(32, 32)),
                    dict(type='SkipUnseenImages'),
                    dict(type='RandomFlip', prob=0.5),
                    dict(type='PackSegInputs'),
                ],
            )
        )
        np.random.seed(1)
        return [
            dataset[index % 6]['data_samples'].gt_sem_seg.data.numpy()
            for index in range(20)
        ]

    table = np.vectorize(HIDDEN[unseen_labels].get)
    hidden = mosaics(unseen_labels=unseen_labels)
    for labels, whole in zip(hidden, mosaics(), strict=True):
        assert {1, 3} & set(np.unique(whole)), 'something is to be hidden'
        np.testing.assert_array_equal(labels, table(whole))


def test_images_without_seen_labels_are_skipped_after_the_renumbering(inner):
    dataset = DATASETS.build(dict(inner, unseen_labels='ignore'))
    data = dataset[5]
    assert SkipUnseenImages()(data) is not None
    data['gt_seg_map'][data['gt_seg_map'] == 0] = 255
    assert SkipUnseenImages()(data) is not None, 'label 1 is seen'
    data['gt_seg_map'][:] = 255
    assert SkipUnseenImages()(data) is None


@pytest.mark.parametrize('unseen_labels', HIDDEN)
def test_rare_classes_are_repeated(inner, unseen_labels):
    dataset = DATASETS.build(
        dict(
            type='ClassBalancedDataset',
            dataset=dict(inner, unseen_labels=unseen_labels),
            oversample_thr=0.7,
        )
    )
    # Label 2 is in one of six images: sqrt(0.7 * 6) = 2.05, rounded up.
    assert list(dataset.repeat_indices) == [0, 1, 2, 3, 4, 5, 5, 5]
    expected = {'keep': [0, 1, 2, 3], 'ignore': [0, 1], 'mark': [0, 2]}
    assert dataset.dataset.get_cat_ids(5) == expected[unseen_labels]
    labels = dataset[7]['gt_seg_map']
    assert HIDDEN[unseen_labels][2] in labels


def test_repeated_and_concatenated_sets(inner):
    packed = dict(
        inner,
        unseen_labels='ignore',
        pipeline=[*LOAD, dict(type='PackSegInputs')],
    )
    dataset = DATASETS.build(
        dict(
            type='RepeatDataset',
            times=2,
            dataset=dict(type='ConcatDataset', datasets=[packed, packed]),
        )
    )
    assert len(dataset) == 24
    assert dataset.metainfo['classes'] == ['cat', 'tree']
    labels = dataset[23]['data_samples'].gt_sem_seg.data.unique().tolist()
    assert labels == [0, 1, 255]


def test_sets_without_labels_have_no_categories(inner):
    inner['data_prefix'] = dict(img_path='images')
    assert DATASETS.build(inner).get_cat_ids(0) == []
