# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F

from ovseg_mm.models.utils import (
    expand_boxes,
    mask_boxes,
    masked_crop,
    region_crops,
)


def test_boxes_are_tight():
    masks = torch.zeros(3, 8, 10, dtype=torch.bool)
    masks[0, 2, 3] = masks[0, 5, 7] = True
    masks[1] = True
    masks[2, 7, 9] = True
    expected = [[3, 2, 8, 6], [0, 0, 10, 8], [9, 7, 10, 8]]
    assert mask_boxes(masks).tolist() == expected
    assert mask_boxes(masks[:0]).shape == (0, 4)


@pytest.mark.parametrize('seed', range(3))
def test_boxes_against_a_plain_loop(seed):
    torch.manual_seed(seed)
    masks = torch.rand(6, 9, 13) > 0.93
    masks = masks[masks.flatten(1).any(1)]
    for mask, box in zip(masks, mask_boxes(masks).tolist()):
        rows, columns = mask.nonzero().t()
        left, top = int(columns.min()), int(rows.min())
        assert box == [left, top, int(columns.max()) + 1, int(rows.max()) + 1]


def test_expansion_truncates_and_clips():
    boxes = torch.tensor([[2, 3, 5, 8], [0, 0, 10, 9]])
    expected = [[1, 1, 5, 9], [0, 0, 10, 9]]
    assert expand_boxes(boxes, 1.5, (9, 10)).tolist() == expected
    assert expand_boxes(boxes, 1.0, (9, 10)) is boxes


def test_crop_and_fill():
    img = torch.arange(24.0).view(2, 3, 4)
    mask = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 1, 0]]).bool()
    box = torch.tensor([1, 1, 4, 3])
    crop = masked_crop(img, mask, box, torch.tensor([-1.0, -2.0]))
    expected = [[[5, -1, 7], [9, 10, -1]], [[17, -2, 19], [21, 22, -2]]]
    assert crop.tolist() == expected
    assert masked_crop(img, mask, box)[0].tolist() == [[5, 0, 7], [9, 10, 0]]


def test_soft_masks_blend():
    img, mask = torch.full((1, 1, 1), 10.0), torch.tensor([[0.25]])
    crop = masked_crop(img, mask, torch.tensor([0, 0, 1, 1]), torch.ones(1))
    assert crop.item() == 0.25 * 10 + 0.75 * 1


def test_crops_are_squares_of_the_boxes():
    torch.manual_seed(0)
    img, masks = torch.randn(3, 12, 15), torch.rand(4, 12, 15) > 0.5
    boxes = torch.tensor(
        [[0, 0, 15, 12], [3, 2, 9, 4], [5, 5, 6, 6], [0, 8, 15, 9]]
    )
    crops = region_crops(img, masks, boxes, 7)
    assert crops.shape == (4, 3, 7, 7)
    for crop, mask, (left, top, right, bottom) in zip(crops, masks, boxes):
        part = (img * mask)[None, :, top:bottom, left:right]
        expected = F.interpolate(part, (7, 7), mode='bicubic')[0]
        torch.testing.assert_close(crop, expected)
    assert region_crops(img, masks[:0], boxes[:0], 7).shape == (0, 3, 7, 7)
