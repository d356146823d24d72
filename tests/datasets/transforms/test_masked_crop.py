# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from ovseg_mm.datasets import CropMaskedClass


def results(**changes):
    rng = np.random.default_rng(0)
    labels = np.zeros((40, 50), np.uint8)
    labels[10:20, 5:25] = 3
    labels[30:, 45:] = 7
    return dict(
        img=rng.integers(0, 256, (40, 50, 3), dtype=np.uint8),
        gt_seg_map=labels,
        crop_value=3,
        **changes,
    )


def test_box_of_the_class():
    given = results()
    cropped = CropMaskedClass(size=(10, 20))(dict(given))
    assert np.array_equal(cropped['img'], given['img'][10:20, 5:25])
    assert cropped['gt_seg_map'].all()
    assert cropped['img_shape'] == (10, 20)


def test_last_row_and_column_are_left_out():
    given = results()
    given['crop_value'] = 7
    cropped = CropMaskedClass(size=(9, 4))(dict(given))
    assert np.array_equal(cropped['img'], given['img'][30:39, 45:49])


def test_masks_become_binary():
    given = results()
    given['gt_seg_map'][12:14, 8:10] = 9
    mask = CropMaskedClass(size=(10, 20))(given)['gt_seg_map']
    assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1}
    assert (mask == 0).sum() == 4


def test_random_parts_lie_in_the_box():
    given = results()
    given['img'][:] = 0
    given['img'][10:20, 5:25] = 200
    transform = CropMaskedClass(size=(24, 22), scale=(0.08, 1.0))
    torch.manual_seed(0)
    for _ in range(20):
        cropped = transform(dict(given))
        assert cropped['img'].shape == (24, 22, 3)
        assert (cropped['img'] == 200).all()


@pytest.mark.parametrize('scale', [None, (0.08, 1.0)])
def test_a_class_that_is_lost(scale):
    given = results()
    given['gt_seg_map'][:] = 0
    given['gt_seg_map'][39, 49] = 3  # in the row that is left out
    assert CropMaskedClass(scale=scale)(given) is None
    assert 'size=(224, 224)' in repr(CropMaskedClass())
