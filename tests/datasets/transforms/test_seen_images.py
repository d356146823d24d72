# SPDX-License-Identifier: Apache-2.0
from collections import Counter

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ovseg_mm.datasets import OpenVocabDataset
from ovseg_mm.utils.image_files import write_image
from ovseg_mm.utils.paths import resource

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='SkipUnseenImages'),
    dict(type='PackSegInputs'),
]
# Labels of each image; 255 is ignored, 1 is unseen.
SHOWN = [[0, 1], [1], [1, 255], [255], [2, 255], [0, 2]]


@pytest.fixture
def build(tmp_path):
    init_default_scope('mmseg')
    for index, labels in enumerate(SHOWN):
        shown = np.resize(labels, (6, 5)).astype(np.uint8)
        write_image(tmp_path / 'labels' / f'{index}.png', shown)
        img = np.zeros((6, 5, 3), np.uint8)
        write_image(tmp_path / 'images' / f'{index}.jpg', img)

    def build(unseen_labels, **options):
        return OpenVocabDataset(
            vocabulary=dict(class_texts=['cat', 'dog', 'sky'], unseen=['dog']),
            data_root=str(tmp_path),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            pipeline=PIPELINE,
            unseen_labels=unseen_labels,
            **options,
        )

    return build


@pytest.mark.parametrize('mode', ['ignore', 'mark'])
def test_images_without_seen_labels_are_not_trained_on(build, mode):
    dataset = build(mode)
    np.random.seed(0)
    drawn = Counter(
        dataset[index]['data_samples'].sample_name
        for index in np.random.permutation(600) % 6
    )
    # As often as if they were not there.
    assert set(drawn) == {'0', '4', '5'}
    assert all(150 < count < 250 for count in drawn.values())


def test_everything_is_kept_where_nothing_is_hidden(build):
    dataset = build('keep', test_mode=True)
    names = [sample['data_samples'].sample_name for sample in dataset]
    assert names == list('012345')


@pytest.mark.parametrize(
    'name', ['coco-stuff164k-156-15', 'pascal-voc20-15-5']
)
def test_zsseg_trains_on_images_that_show_something_seen(name):
    cfg = Config.fromfile(
        resource('configs', '_base_', 'datasets', f'zsseg_{name}.py')
    )
    data = cfg.train_dataloader.dataset
    for part in data.get('datasets', [data]):
        steps = [step.type for step in part.pipeline]
        # Before anything is cut away.
        loading = steps.index('LoadOpenVocabAnnotations')
        assert steps[loading + 1] == 'SkipUnseenImages'
        assert part.unseen_labels == 'ignore'
