# SPDX-License-Identifier: Apache-2.0
"""Label files of each public data set become the labels of its vocabulary."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from ovseg_mm.datasets import OpenVocabDataset
from ovseg_mm.utils.paths import resource

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='PackSegInputs'),
]


@pytest.fixture(autouse=True)
def mmseg_scope():
    init_default_scope('mmseg')


def make(root, name, values, suffix='.png', **kwargs):
    """A data set of one image whose label file holds the values."""
    values = np.asarray([values])
    for folder in ('images', 'labels'):
        (root / folder).mkdir(exist_ok=True)
    picture = np.zeros((*values.shape, 3), dtype=np.uint8)
    Image.fromarray(picture).save(root / 'images' / 'x.jpg')
    Image.fromarray(values).save(root / 'labels' / f'x{suffix}')
    return DATASETS.build(
        dict(
            type=name,
            data_root=str(root),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            pipeline=PIPELINE,
            **kwargs,
        )
    )


def labels(dataset):
    return dataset[0]['data_samples'].gt_sem_seg.data.flatten().tolist()


@pytest.mark.parametrize(
    ('name', 'last'),
    [('ADE20K847Dataset', 846), ('PascalContext459Dataset', 458)],
)
@pytest.mark.filterwarnings('ignore:.*ade847')
def test_large_sets_keep_255_and_ignore_65535(tmp_path, name, last):
    values = np.array([0, 255, last, 65535], dtype=np.uint16)
    dataset = make(tmp_path, name, values, '.tif')
    assert len(dataset.metainfo['classes']) == last + 1
    assert dataset.ignore_index == 65535
    assert labels(dataset) == [0, 255, last, 65535]
    wrong = np.array([last + 1], dtype=np.uint16)
    with pytest.raises(ValueError, match=f'x.tif holds .* {last + 1}, but'):
        make(tmp_path, name, wrong, '.tif')[0]


def test_voc_with_and_without_background(tmp_path):
    values = np.array([0, 1, 20, 255], dtype=np.uint8)
    objects = make(tmp_path, 'PascalVOC20Dataset', values)
    assert labels(objects) == [255, 0, 19, 255]
    assert len(objects.metainfo['classes']) == 20
    both = make(tmp_path, 'PascalVOC20bDataset', values)
    assert labels(both) == [20, 0, 19, 255]
    assert both.metainfo['classes'][20] == 'background'
    assert both.vocabulary.num_texts == 59
    # Files that hold the labels already.
    as_is = make(tmp_path, 'PascalVOC20bDataset', values, label_map=None)
    assert labels(as_is) == [0, 1, 20, 255]


@pytest.mark.parametrize(
    ('name', 'seen'),
    [
        ('PascalVOC20ZeroShotDataset', 15),
        ('PascalContext59ZeroShotDataset', 49),
        ('COCOStuffZeroShotDataset', 156),
    ],
)
def test_unseen_classes_leave_the_training_labels(tmp_path, name, seen):
    coco = name.startswith('COCO')
    suffix = '_labelTrainIds.png' if coco else '.png'
    build = dict(name=name, root=tmp_path, suffix=suffix)
    first = int(not coco)
    some = np.full(1, first, np.uint8)
    total = len(make(values=some, **build).metainfo['classes'])
    values = np.arange(total + first, dtype=np.uint8)
    expected = np.arange(-first, total)
    expected[expected < 0] = 255
    kept = make(values=values, **build)
    assert labels(kept) == expected.tolist()
    unseen = kept.metainfo['unseen']
    assert total - len(unseen) == seen

    hidden = make(values=values, unseen_labels='ignore', **build)
    found = np.array(labels(hidden))
    is_unseen = np.isin(expected, unseen)
    assert (found[is_unseen] == 255).all()
    renumbered = found[~is_unseen & (expected != 255)]
    assert renumbered.tolist() == list(range(seen))
    assert len(hidden.metainfo['classes']) == seen
    names = kept.metainfo['classes']
    assert [n for i, n in enumerate(names) if i not in unseen] == (
        hidden.metainfo['classes']
    )

    marked = make(values=values, unseen_labels='mark', **build)
    assert labels(marked) == np.where(is_unseen, -1, expected).tolist()
    assert marked.metainfo['classes'] == names


def test_wrong_treatment_of_unseen_labels(tmp_path):
    values = np.zeros(1, dtype=np.uint8)
    with pytest.raises(
        ValueError, match="unseen_labels='drop' must be 'keep'"
    ):
        make(
            tmp_path,
            'PascalVOC20ZeroShotDataset',
            values,
            unseen_labels='drop',
        )
    with pytest.raises(ValueError, match='voc20.json has none'):
        make(tmp_path, 'PascalVOC20Dataset', values, unseen_labels='mark')


def test_label_map_of_the_user(tmp_path):
    values = np.array([7, 9, 255], dtype=np.uint8)
    dataset = make(
        tmp_path,
        'OpenVocabDataset',
        values,
        vocabulary=['cat', 'dog'],
        label_map={7: 0, 9: 1},
    )
    assert isinstance(dataset, OpenVocabDataset)
    assert labels(dataset) == [0, 1, 255]


@pytest.mark.parametrize(
    ('config', 'seen'),
    [
        ('4xb4-20k_pascal-voc20-15-5', 15),
        ('4xb4-40k_pascal-context-59-49-10', 49),
        ('4xb4-80k_coco-stuff164k-156-15', 156),
    ],
)
def test_zero_shot_configs_train_on_seen_labels(
    tmp_path, monkeypatch, config, seen
):
    monkeypatch.chdir(tmp_path)
    name = f'cascadeclip_clip-vit-b16_{config}-512x512.py'
    config = Config.fromfile(resource('configs', 'cascade_clip', name))
    loader = config.train_dataloader.dataset
    for part in loader.get('datasets', [loader]):
        _write_sample(tmp_path, part)
    _write_sample(tmp_path, config.test_dataloader.dataset)
    train = DATASETS.build(loader)
    assert len(train.metainfo['classes']) == seen
    for index in range(len(train)):
        sample = train[index]
        truth = sample['data_samples'].gt_sem_seg.data
        assert truth.shape[1:] == sample['inputs'].shape[1:]
        assert max(truth.shape) <= 512
        assert set(truth.unique().tolist()) <= {*range(seen), 255}
    test = DATASETS.build(config.test_dataloader.dataset)
    assert len(test.metainfo['classes']) > seen
    assert min(test[0]['inputs'].shape[1:]) == 512
    assert torch.equal(
        test[0]['data_samples'].gt_sem_seg.data.unique(),
        torch.tensor([0, 15, 255]),
    )


def _write_sample(root, cfg):
    folder = root / cfg.data_root
    prefix = cfg.data_prefix
    suffix = '_labelTrainIds.png' if 'COCO' in cfg.type else '.png'
    image = folder / prefix.img_path / 'x.jpg'
    label = folder / prefix.seg_map_path / f'x{suffix}'
    first = int('COCO' not in cfg.type)
    values = np.full((60, 200), 15 + first, dtype=np.uint8)
    values[:20], values[20:40] = first, 255 * (1 - first)
    for path, pixels in (
        (image, np.zeros((60, 200, 3), dtype=np.uint8)),
        (label, values),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    if cfg.get('ann_file'):
        (folder / cfg.ann_file).parent.mkdir(parents=True, exist_ok=True)
        (folder / cfg.ann_file).write_text('x\n')
