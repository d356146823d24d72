# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs
from PIL import Image

from ovseg_mm.datasets import LoadOpenVocabAnnotations


def load(path, values, **results):
    Image.fromarray(np.asarray(values)).save(path)
    results.update(seg_map_path=str(path), seg_fields=[])
    return LoadOpenVocabAnnotations()(results)


def test_16_bit_labels_reach_the_model(tmp_path):
    values = np.array([[0, 255], [846, 65535]], dtype=np.uint16)
    results = load(
        tmp_path / 'a.tif', values, ignore_index=65535, num_labels=847
    )
    assert results['seg_fields'] == ['gt_seg_map']
    packed = PackSegInputs()(results)['data_samples']
    np.testing.assert_array_equal(packed.gt_sem_seg.data[0], values)


@pytest.mark.parametrize('zero', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 2, 1: 255, 2: 0}])
def test_8_bit_labels_as_mmseg_loads_them(tmp_path, zero, label_map):
    values = np.array([[0, 1, 2], [3, 254, 255]], dtype=np.uint8)
    info = dict(reduce_zero_label=zero, label_map=label_map)
    ours = load(tmp_path / 'a.png', values, **info)
    stock = LoadAnnotations()(
        dict(info, seg_map_path=str(tmp_path / 'a.png'), seg_fields=[])
    )
    assert ours['gt_seg_map'].dtype == stock['gt_seg_map'].dtype
    np.testing.assert_array_equal(ours['gt_seg_map'], stock['gt_seg_map'])


def test_zero_is_ignored_with_the_ignore_index_of_the_data_set(tmp_path):
    values = np.array([[0, 1, 255, 256, 65535]], dtype=np.uint16)
    results = load(
        tmp_path / 'a.png', values, reduce_zero_label=True, ignore_index=65535
    )
    np.testing.assert_array_equal(
        results['gt_seg_map'], [[65535, 0, 254, 255, 65535]]
    )
    # An 8-bit file cannot hold that index: the type must grow.
    results = load(
        tmp_path / 'b.png',
        np.array([[0, 255]], dtype=np.uint8),
        reduce_zero_label=True,
        ignore_index=65535,
    )
    np.testing.assert_array_equal(results['gt_seg_map'], [[65535, 254]])


def test_map_of_large_labels(tmp_path):
    values = np.array([[1, 400, 9]], dtype=np.uint16)
    results = load(tmp_path / 'a.png', values, label_map={400: 1, 1: 700})
    np.testing.assert_array_equal(results['gt_seg_map'], [[700, 1, 9]])


def test_samples_without_labels_pass_unchanged():
    results = dict(img=np.zeros((2, 2, 3)))
    assert LoadOpenVocabAnnotations()(results) is results
    assert list(results) == ['img']
    unlabelled = dict(seg_map_path=None)
    assert LoadOpenVocabAnnotations()(unlabelled) == dict(seg_map_path=None)


def test_values_that_are_no_labels_are_named(tmp_path):
    values = np.array([[0, 5, 9, 255]], dtype=np.uint8)
    with pytest.raises(ValueError, match='holds the label values 5, 9, but'):
        load(tmp_path / 'a.png', values, num_labels=5, ignore_index=255)
    load(tmp_path / 'a.png', values, num_labels=10, ignore_index=255)


def test_size_of_the_image_is_checked(tmp_path):
    values = np.zeros((2, 3), dtype=np.uint8)
    load(tmp_path / 'a.png', values, ori_shape=(2, 3))
    with pytest.raises(ValueError, match='is 3x2 pixels .* image is 2x3'):
        load(tmp_path / 'a.png', values, ori_shape=(3, 2))
