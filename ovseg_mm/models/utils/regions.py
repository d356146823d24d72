# SPDX-License-Identifier: Apache-2.0
"""From mask proposals to image crops.

Letters: N masks, H, W pixels of the image, S side of a crop, s of a patch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_boxes(masks: Tensor) -> Tensor:
    """Tight boxes of masks, all in one pass.

    Args:
        masks (Tensor): Masks, (N, H, W) bool, each with at least one true
            pixel.

    Returns:
        Tensor: Left, top, right, bottom, (N, 4) int64; right and bottom are
        exclusive.
    """
    ends = []
    for axis in (masks.any(dim=1), masks.any(dim=2)):
        size = axis.shape[1]
        first = axis.byte().argmax(dim=1)
        last = size - axis.flip(1).byte().argmax(dim=1)
        ends.append((first, last))
    (left, right), (top, bottom) = ends
    return torch.stack([left, top, right, bottom], dim=1)


def expand_boxes(boxes: Tensor, ratio: float, size: tuple[int, int]) -> Tensor:
    """Scale boxes about their centres and clip them to the image.

    Args:
        boxes (Tensor): See :func:`mask_boxes`.
        ratio (float): Factor of both sides.
        size (tuple[int, int]): H, W.

    Returns:
        Tensor: (N, 4) int64, corners truncated toward zero.
    """
    if ratio == 1.0:
        return boxes
    corners = boxes.double()
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    half = (corners[:, 2:] - corners[:, :2]) / 2 * ratio
    limit = boxes.new_tensor([size[1], size[0]])
    low, high = (
        torch.minimum(edge.long().clamp(min=0), limit)
        for edge in (centre - half, centre + half)
    )
    return torch.cat([low, high], dim=1)


def masked_crop(
    img: Tensor, mask: Tensor, box: Tensor, fill: Tensor | None = None
) -> Tensor:
    """Cut a box out of an image and fill the pixels outside a mask.

    Args:
        img (Tensor): The image, (C, H, W).
        mask (Tensor): The mask, (H, W), bool or weights in [0, 1].
        box (Tensor): Left, top, right, bottom, (4,).
        fill (Tensor, optional): Value of each channel outside, (C,).
            Default: 0.

    Returns:
        Tensor: (C, height, width) of the box.
    """
    left, top, right, bottom = box.tolist()
    weight = mask[top:bottom, left:right].to(img.dtype)
    crop = img[:, top:bottom, left:right] * weight
    if fill is not None:
        crop = crop + fill[:, None, None] * (1 - weight)
    return crop


def region_crops(
    img: Tensor,
    masks: Tensor,
    boxes: Tensor,
    side: int,
    fill: Tensor | None = None,
) -> Tensor:
    """Crops of one image, resized to squares (bicubic, aspect ratio lost).

    Args:
        img (Tensor): The image, (C, H, W).
        masks (Tensor): Masks, (N, H, W), bool or weights in [0, 1].
        boxes (Tensor): Boxes, (N, 4), see :func:`mask_boxes`.
        side (int): S.
        fill (Tensor, optional): See :func:`masked_crop`.

    Returns:
        Tensor: (N, C, S, S).
    """
    crops = img.new_empty(len(masks), len(img), side, side)
    for out, mask, box in zip(crops, masks, boxes.cpu()):
        crop = masked_crop(img, mask, box, fill)
        out.copy_(
            F.interpolate(
                crop[None], (side, side), mode='bicubic', align_corners=False
            )[0]
        )
    return crops


def region_masks(masks: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Crop masks to their boxes and resize them to squares (nearest).

    Args:
        masks (Tensor): Masks, (N, H, W) bool.
        boxes (Tensor): Boxes, (N, 4), see :func:`mask_boxes`.
        side (int): S.

    Returns:
        Tensor: (N, S, S) bool.
    """
    crops = masks.new_empty(len(masks), side, side)
    for out, mask, (left, top, right, bottom) in zip(
        crops, masks, boxes.tolist()
    ):
        crop = mask[None, None, top:bottom, left:right].float()
        out.copy_(F.interpolate(crop, (side, side), mode='nearest')[0, 0])
    return crops


def patches_with_mask(masks: Tensor, patch_size: int) -> Tensor:
    """Find the patches that contain a pixel of a mask.

    Args:
        masks (Tensor): Masks, (N, S, S) bool.
        patch_size (int): s.

    Returns:
        Tensor: (N, (S / s) ** 2) bool, row by row.
    """
    pooled = F.max_pool2d(masks[:, None].float(), patch_size)
    return pooled.flatten(1) > 0
