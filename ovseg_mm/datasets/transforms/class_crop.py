# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from torchvision.transforms import RandomResizedCrop


@TRANSFORMS.register_module()
class CropClass(BaseTransform):
    """Cut out one class of an image, whole or a random part of it.

    The box is tight around all pixels of the class; like ZSSeg's it never
    holds the last row and column of the image. In training (``scale`` is
    given) a random part of the box is resized to ``size``, bilinearly by
    Pillow, which smooths when it shrinks. In tests the centre of the box is
    cut out at its own size; a side of the box that is shorter than ``size``
    is padded with pixels that are not in the mask.

    Required keys: ``img``, ``gt_seg_map``, ``crop_value`` (the class).

    Modified keys: ``img``; ``gt_seg_map``, which becomes 1 where the class
    is and 0 elsewhere; ``img_shape``. The result is None if the box is empty
    or the class is not in the random part. The centre of a box may hold
    nothing of the class, such as of a ring: the mask is then 0 everywhere.

    Args:
        size (Sequence[int]): Height and width of the crop.
        scale (Sequence[float], optional): Smallest and largest share of the
            box's area that a random part has, whatever its aspect ratio. None:
            the centre of the box.
        ratio (Sequence[float]): Smallest and largest aspect ratio of a random
            part.
    """

    def __init__(
        self,
        size: Sequence[int] = (224, 224),
        scale: Sequence[float] | None = None,
        ratio: Sequence[float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size = tuple(size)
        self.scale = None if scale is None else list(scale)
        self.ratio = list(ratio)

    def transform(self, results: dict) -> dict | None:
        """Crop image and mask."""
        mask = results['gt_seg_map'] == results['crop_value']
        top, left, height, width = _tight_box(mask)
        if not height or not width:
            return None
        if self.scale is not None:
            top, left, height, width = self._part(top, left, height, width)
        window = slice(top, top + height), slice(left, left + width)
        img, mask = results['img'][window], mask[window].astype(np.uint8)
        if self.scale is None:
            img, mask = (_centre(array, self.size) for array in (img, mask))
        elif mask.any():
            img, mask = (
                _resize(img, self.size, 'bilinear'),
                _resize(mask, self.size, 'nearest'),
            )
        else:
            return None
        results.update(img=img, gt_seg_map=mask, img_shape=self.size)
        return results

    def _part(
        self, top: int, left: int, height: int, width: int
    ) -> tuple[int, ...]:
        part = RandomResizedCrop.get_params(
            torch.empty(1, height, width), self.scale, self.ratio
        )
        return top + part[0], left + part[1], part[2], part[3]

    def __repr__(self) -> str:
        """Name the transform and its arguments."""
        return (
            f'{type(self).__name__}(size={self.size}, scale={self.scale}, '
            f'ratio={self.ratio})'
        )


def within_crops(labels: np.ndarray) -> np.ndarray:
    """The part of a label map (H, W) that crops can show.

    Args:
        labels (np.ndarray): Label map, or a mask.

    Returns:
        np.ndarray: Without the last row and column. A class that it does not
        hold has an empty box.
    """
    return labels[:-1, :-1]


def _tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, height and width of a mask (H, W)."""
    edges = []
    for axis in (1, 0):
        inside = np.flatnonzero(mask.any(axis=axis))
        if not len(inside):
            return 0, 0, 0, 0
        # The last row and column are left out.
        end = min(inside[-1] + 1, mask.shape[1 - axis] - 1)
        edges.append((int(inside[0]), max(int(end - inside[0]), 0)))
    (top, height), (left, width) = edges
    return top, left, height, width


def _resize(
    array: np.ndarray, size: tuple[int, int], interpolation: str
) -> np.ndarray:
    return mmcv.imresize(
        np.ascontiguousarray(array),
        size[::-1],
        interpolation=interpolation,
        backend='pillow',
    )


def _centre(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Centre (height, width, ...) of an array, padded with 0 if smaller."""
    padding = [(0, 0)] * array.ndim
    for axis, (found, wanted) in enumerate(zip(array.shape, size)):
        start = max(found - wanted, 0) // 2
        array = array.take(range(start, min(start + wanted, found)), axis)
        missing = max(wanted - found, 0)
        padding[axis] = (missing // 2, missing - missing // 2)
    return np.pad(array, padding)
