# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from PIL import Image

from ovseg_mm.datasets.transforms import CropClass


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
    cropped = CropClass(size=(10, 20))(dict(given))
    assert np.array_equal(cropped['img'], given['img'][10:20, 5:25])
    assert cropped['gt_seg_map'].all()
    assert cropped['img_shape'] == (10, 20)


@pytest.mark.parametrize(
    ('size', 'rows', 'columns'),
    [
        ((4, 6), slice(13, 17), slice(12, 18)),
        ((4, 30), slice(13, 17), slice(5, 25)),
        ((21, 6), slice(10, 20), slice(12, 18)),
        ((40, 40), slice(10, 20), slice(5, 25)),
    ],
)
def test_tests_see_the_centre_at_its_own_size(size, rows, columns):
    given = results()
    given['gt_seg_map'][14, 14] = 9
    cropped = CropClass(size=size)(dict(given))
    img, mask = cropped['img'], cropped['gt_seg_map']
    assert img.shape == (*size, 3) and mask.shape == size
    expected = given['img'][rows, columns]
    top = (size[0] - expected.shape[0]) // 2
    left = (size[1] - expected.shape[1]) // 2
    inside = (
        slice(top, top + expected.shape[0]),
        slice(left, left + expected.shape[1]),
    )
    assert np.array_equal(img[inside], expected)
    shown = given['gt_seg_map'][rows, columns] == 3
    assert np.array_equal(mask[inside], shown)
    # Padding is not in the mask.
    assert mask.sum() == shown.sum() and not shown.all()


def test_a_ring_around_the_centre_is_kept():
    given = results()
    given['gt_seg_map'][12:18, 8:22] = 9
    cropped = CropClass(size=(4, 4))(dict(given))
    assert not cropped['gt_seg_map'].any()
    assert np.array_equal(cropped['img'], given['img'][13:17, 13:17])


def test_training_shrinks_like_pillow():
    """Thin stripes become grey; without smoothing some would be left."""
    given = results()
    given['img'][:] = 0
    given['img'][:, ::2] = 255
    given['gt_seg_map'][:] = 3
    crop = CropClass(size=(13, 7), scale=(1.0, 1.0), ratio=(1.0, 1.0))
    crop._part = lambda *box: box  # the whole box
    cropped = crop(dict(given))
    box = Image.fromarray(given['img'][:39, :49])
    expected = np.asarray(box.resize((7, 13), Image.Resampling.BILINEAR))
    assert np.array_equal(cropped['img'], expected)
    assert np.ptp(cropped['img'][:, 1:-1].astype(int)) < 40


def test_last_row_and_column_are_left_out():
    given = results()
    given['crop_value'] = 7
    cropped = CropClass(size=(9, 4))(dict(given))
    assert np.array_equal(cropped['img'], given['img'][30:39, 45:49])


def test_masks_become_binary():
    given = results()
    given['gt_seg_map'][12:14, 8:10] = 9
    mask = CropClass(size=(10, 20))(given)['gt_seg_map']
    assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1}
    assert (mask == 0).sum() == 4


def test_random_parts_lie_in_the_box():
    given = results()
    given['img'][:] = 0
    given['img'][10:20, 5:25] = 200
    transform = CropClass(size=(24, 22), scale=(0.08, 1.0))
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
    assert CropClass(scale=scale)(given) is None
    assert 'size=(224, 224)' in repr(CropClass())
