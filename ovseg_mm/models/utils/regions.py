# SPDX-License-Identifier: Apache-2.0
"""Image crops of mask proposals.

Letters: N masks, C channels of the image, H, W height and width of the image,
S side of a square crop, s side of a patch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_boxes(masks: Tensor) -> Tensor:
    """Bounding boxes of masks.

    Args:
        masks (Tensor): Masks, (N, H, W) bool, each with at least one True.

    Returns:
        Tensor: Boxes as left, top, right and bottom, (N, 4) int64. Right and
        bottom are exclusive.
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
        boxes (Tensor): Boxes from :func:`mask_boxes`, (N, 4).
        ratio (float): Number by which width and height are multiplied.
        size (tuple[int, int]): Height and width of the image.

    Returns:
        Tensor: Scaled boxes, (N, 4) int64; fractions are cut off.
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
        img (Tensor): Image, (C, H, W).
        mask (Tensor): Mask, (H, W), bool or weights in [0, 1].
        box (Tensor): Left, top, right and bottom of the box, (4,).
        fill (Tensor, optional): Value of each channel outside the mask, (C,).
            None: 0.

    Returns:
        Tensor: Crop, (C, height of the box, width of the box).
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
    """Cut the regions of masks out of an image and resize them to squares.

    The interpolation is bicubic; the aspect ratio is not kept.

    Args:
        img (Tensor): Image, (C, H, W).
        masks (Tensor): Masks, (N, H, W), bool or weights in [0, 1].
        boxes (Tensor): Boxes from :func:`mask_boxes`, (N, 4).
        side (int): Side S of the squares.
        fill (Tensor, optional): Value of each channel outside a mask, (C,).
            None: 0.

    Returns:
        Tensor: Crops, (N, C, S, S).
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
    """Crop masks to their boxes and resize them to squares.

    The interpolation is nearest-neighbour.

    Args:
        masks (Tensor): Masks, (N, H, W) bool.
        boxes (Tensor): Boxes from :func:`mask_boxes`, (N, 4).
        side (int): Side S of the squares.

    Returns:
        Tensor: Cropped masks, (N, S, S) bool.
    """
    crops = masks.new_empty(len(masks), side, side)
    for out, mask, (left, top, right, bottom) in zip(
        crops, masks, boxes.tolist()
    ):
        crop = mask[None, None, top:bottom, left:right].float()
        out.copy_(F.interpolate(crop, (side, side), mode='nearest')[0, 0])
    return crops


def patches_with_mask(masks: Tensor, patch_size: int) -> Tensor:
    """Find the patches that contain at least one pixel of a mask.

    Args:
        masks (Tensor): Square masks, (N, S, S) bool.
        patch_size (int): Side s of a patch.

    Returns:
        Tensor: Whether a patch has such a pixel, (N, (S / s) ** 2) bool, with
        the patches row by row.
    """
    pooled = F.max_pool2d(masks[:, None].float(), patch_size)
    return pooled.flatten(1) > 0
