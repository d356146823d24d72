# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

from ovseg_mm.datasets import ClassCropDataset

WORDS = ['cat', 'dog', 'sky', 'sea']
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='CropClass', size=(16, 16)),
    dict(type='PackSegInputs', meta_keys=('img_path', 'crop_label')),
]
# Classes of each image; 255 is ignored.
SHOWN = {'a': [0, 1], 'b': [1, 3], 'c': [1, 2, 255], 'd': [2]}


@pytest.fixture
def data(tmp_path):
    init_default_scope('mmseg')
    for name, classes in SHOWN.items():
        labels = np.resize(classes, 6).reshape(2, 3).astype(np.uint8)
        labels = np.kron(labels, np.ones((10, 10), np.uint8))
        for folder, pixels, suffix in (
            ('images', np.stack([labels * 20] * 3, axis=2), 'jpg'),
            ('labels', labels, 'png'),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            path = tmp_path / folder / f'{name}.{suffix}'
            Image.fromarray(pixels).save(path)
    return tmp_path


def build(data, unseen=('cat',), **options):
    dataset = dict(
        type='OpenVocabDataset',
        vocabulary=dict(class_texts=WORDS, unseen=list(unseen)),
        data_root=str(data),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        unseen_labels='ignore' if unseen else 'keep',
    )
    return ClassCropDataset(dataset, PIPELINE, **options)


def test_one_sample_a_seen_class_of_an_image(data):
    dataset = build(data)
    names = 'abcd'
    samples = [(names[image], label) for image, label in dataset.samples]
    # dog, sky and sea are numbered from 0 when cat is unseen
    expected = [('a', 0), ('b', 0), ('c', 0), ('c', 1), ('d', 1), ('b', 2)]
    assert samples == expected
    assert dataset.metainfo['classes'] == WORDS[1:]
    everything = build(data, unseen=())
    assert len(everything) == 7
    assert everything.metainfo['classes'] == WORDS


def test_samples_hold_mask_and_label(data):
    dataset = build(data, test_mode=True)
    for index in range(len(dataset)):
        packed = dataset[index]
        sample = packed['data_samples']
        assert packed['inputs'].shape == (3, 16, 16)
        assert sample.crop_label == dataset.samples[index][1]
        assert set(sample.gt_sem_seg.data.unique().tolist()) <= {0, 1}
        assert sample.gt_sem_seg.data.any()


def test_frequent_classes_are_drawn_from(data):
    dataset = build(data, samples_per_class=2)
    labels = [label for _, label in dataset.samples]
    assert [labels.count(label) for label in range(3)] == [2, 2, 1]
    assert dataset.samples == build(data, samples_per_class=2).samples


def test_parts_of_a_concatenation_are_drawn_from_together(data):
    part = dict(
        type='OpenVocabDataset',
        vocabulary=dict(class_texts=WORDS, unseen=['cat']),
        data_root=str(data),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        unseen_labels='ignore',
    )
    parts = []
    for names in ('ab', 'cd'):
        (data / f'{names}.txt').write_text('\n'.join(names))
        parts.append(dict(part, ann_file=f'{names}.txt'))
    together = dict(type='ConcatDataset', datasets=parts)
    joined = ClassCropDataset(together, PIPELINE, index_file=data / 'i.json')
    whole = build(data)
    assert joined.samples == whole.samples
    assert joined.metainfo == whole.metainfo
    few = ClassCropDataset(together, PIPELINE, samples_per_class=2)
    assert few.samples == build(data, samples_per_class=2).samples
    sample = joined[joined.samples.index((3, 1))]['data_samples']
    assert sample.img_path.endswith('d.jpg') and sample.crop_label == 1
    # The index file knows images by name.
    twice = dict(type='ConcatDataset', datasets=[parts[0], part])
    with pytest.raises(ValueError, match='contains the image a twice'):
        ClassCropDataset(twice, PIPELINE)


def test_index_is_kept(data):
    path = data / 'classes.json'
    first = build(data, index_file=str(path))
    index = json.loads(path.read_text())
    assert index['c'] == [1, 2]
    for file in (data / 'labels').iterdir():
        file.write_bytes(b'')  # not read again
    assert build(data, index_file=str(path)).samples == first.samples
    path.write_text(json.dumps({**index, 'e': [1]}))
    with pytest.raises(ValueError, match='classes.json has 5 images'):
        build(data, index_file=str(path))


def test_lost_samples_are_replaced(data):
    dataset = build(data)
    dataset.pipeline = lambda info: None if info['crop_label'] else 'sample'
    assert dataset[3] == 'sample'
    dataset.test_mode = True
    with pytest.raises(RuntimeError, match='returns None for sample 3'):
        dataset[3]


def test_classes_at_the_border_have_no_crop_to_test(data):
    path = data / 'labels' / 'd.png'
    labels = np.array(Image.open(path))
    labels[-1, :9] = 1
    labels[:9, -1] = 3
    labels[-1, -1] = 0
    labels[0, 0] = 0
    Image.fromarray(labels).save(path)
    dataset = build(data, unseen=(), test_mode=True)
    # cat is elsewhere as well
    assert [label for image, label in dataset.samples if image == 3] == [0, 2]
    for index, (_, label) in enumerate(dataset.samples):
        assert dataset[index]['data_samples'].crop_label == label
    # Training draws another sample, as published.
    dataset = build(data, unseen=())
    labels = [label for image, label in dataset.samples if image == 3]
    assert labels == [0, 1, 2, 3]
    assert dataset[dataset.samples.index((3, 1))] is not None


def test_nothing_to_crop(data):
    for file in (data / 'labels').iterdir():
        Image.fromarray(np.full((20, 30), 255, np.uint8)).save(file)
    with pytest.raises(ValueError, match='no label file .* shows a class'):
        build(data)
