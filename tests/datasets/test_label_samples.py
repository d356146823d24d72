# SPDX-License-Identifier: Apache-2.0
"""Label files that cannot be what is meant are noticed at the start."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

from ovseg_mm.datasets import OpenVocabDataset
from ovseg_mm.utils.errors import InputError

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='PackSegInputs'),
]


@pytest.fixture(autouse=True)
def mmseg_scope():
    init_default_scope('mmseg')


@pytest.fixture
def warned(monkeypatch):
    """Texts of the warnings."""
    texts = []
    monkeypatch.setattr(
        'ovseg_mm.datasets.label_samples.print_log',
        lambda text, *args: texts.append(text),
    )
    return texts


def make(root, files, words=2, suffix='.png', **options):
    """A data set whose label files hold the given values."""
    for folder in ('images', 'labels'):
        (root / folder).mkdir(exist_ok=True)
    for index, values in enumerate(files):
        labels = np.resize(np.array(values), (6, 8))
        kind = np.uint8 if labels.max() < 256 else np.uint16
        path = root / 'labels' / f'{index:03}{suffix}'
        Image.fromarray(labels.astype(kind)).save(path)
        image = Image.new('RGB', (8, 6))
        image.save(root / 'images' / f'{index:03}.jpg')
    options.setdefault('pipeline', PIPELINE)
    return OpenVocabDataset(
        [f'word {i}' for i in range(words)],
        dict(img_path='images', seg_map_path='labels'),
        data_root=str(root),
        seg_map_suffix=suffix,
        **options,
    )


def test_masks_of_0_and_255_are_refused_for_two_classes(tmp_path, warned):
    files = [[0, 255], [0], [255]]
    with pytest.raises(InputError) as error:
        make(tmp_path, files)
    message = str(error.value)
    assert '3 label files' in message and 'labels/000.png' in message
    assert 'set label_map={255: 1}' in message
    # Both ways out that it names work.
    dataset = make(tmp_path, files, label_map={255: 1})
    found = [d['data_samples'].gt_sem_seg.data.unique() for d in dataset]
    assert [values.tolist() for values in found] == [[0, 1], [0], [1]]
    dataset = make(tmp_path, files, ignore_index=255)
    assert dataset[0]['data_samples'].gt_sem_seg.data.unique()[1] == 255
    assert warned == []


@pytest.mark.parametrize('words', [1, 5])
def test_masks_of_0_and_255_are_mentioned_for_other_counts(
    tmp_path, warned, words
):
    make(tmp_path, [[0, 255]] * 3, words)
    (text,) = warned
    assert f'only label 0 of {words} is left' in text
    assert 'label_map={255: 1}' in text


def test_other_label_files_are_not_taken_for_masks(tmp_path, warned):
    make(tmp_path, [[0, 1, 255]] * 3)
    make(tmp_path, [[0]] * 3)
    make(tmp_path, [[1, 255]] * 3)
    assert warned == []


def test_a_rare_label_ends_the_doubt(tmp_path, warned):
    files = [[0, 255]] * 60
    files[7] = [0, 1, 255]  # not among the few that are always read
    make(tmp_path, files)
    assert warned == []


def test_labels_that_are_all_ignored_are_refused(tmp_path):
    with pytest.raises(InputError, match='all pixels of the 2 label files'):
        make(tmp_path, [[255], [255]])
    with pytest.raises(InputError, match='reduce_zero_label is True') as error:
        make(tmp_path, [[0, 255]], reduce_zero_label=True)
    assert 'label_map={255: 1}' in str(error.value)
    make(tmp_path, [[255], [0, 1]])


def test_zero_that_is_a_label_is_noticed(tmp_path, warned):
    make(tmp_path, [[0, 1], [2, 255]], 3, reduce_zero_label=True)
    (text,) = warned
    assert 'values 0 to 2 and never 3' in text
    assert 'set reduce_zero_label=False' in text
    warned.clear()
    make(tmp_path, [[0, 1], [2, 3]], 3, reduce_zero_label=True)
    make(tmp_path, [[0, 1], [2, 255]], 3)
    assert warned == []


def test_labels_numbered_from_1_are_told(tmp_path):
    with pytest.raises(InputError, match='from 1, set reduce_zero_label=True'):
        make(tmp_path, [[1, 2], [3]], 3)


def test_values_of_resized_labels_are_told(tmp_path):
    with pytest.raises(InputError, match='resized with interpolation'):
        make(tmp_path, [list(range(0, 240, 5))], 3)


def test_8_bit_files_for_many_labels(tmp_path, warned):
    make(tmp_path, [[0, 7, 255]], 300)
    (text,) = warned
    assert 'set label_map={255: 65535}' in text
    warned.clear()
    make(tmp_path, [[0, 7, 255]], 300, label_map={255: 65535})
    make(tmp_path, [[0, 7, 255], [299, 255]], 300)
    assert warned == []


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('RGB', 'not a colour picture|channels are equal'),
        ('JPEG', 'is a JPEG'),
    ],
)
def test_files_that_are_not_label_maps_are_told_at_the_start(
    tmp_path, kind, message
):
    make(tmp_path, [[0, 1]] * 2)
    path = tmp_path / 'labels' / '001.png'
    image = Image.new('RGB' if kind == 'RGB' else 'L', (8, 6))
    image.save(path, 'PNG' if kind == 'RGB' else 'JPEG')
    with pytest.raises(InputError, match=message) as error:
        OpenVocabDataset(
            ['a', 'b'],
            dict(img_path='images', seg_map_path='labels'),
            data_root=str(tmp_path),
            pipeline=PIPELINE,
        )
    assert str(path) in str(error.value)


def test_sizes_are_compared_at_the_start(tmp_path):
    make(tmp_path, [[0, 1]])
    Image.new('RGB', (9, 6)).save(tmp_path / 'images' / '000.jpg')
    with pytest.raises(InputError, match='8x6 pixels .* is 9x6'):
        OpenVocabDataset(
            ['a', 'b'],
            dict(img_path='images', seg_map_path='labels'),
            data_root=str(tmp_path),
            pipeline=PIPELINE,
        )


def test_nothing_is_read_that_the_pipeline_reads_in_another_way(tmp_path):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
    assert len(make(tmp_path, [[0, 255]], pipeline=pipeline)) == 1
    assert len(make(tmp_path, [[7]], lazy_init=True).data_list) == 0
