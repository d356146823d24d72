# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from dataclasses import dataclass

import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from torchvision.transforms import RandomResizedCrop


@TRANSFORMS.register_module()
@dataclass(eq=False)
class CropClass(BaseTransform):
    """Crop one class of an image: all of it, or a random part.

    The box is tight around all pixels of the class; as in ZSSeg, it excludes
    the last row and column of the image. In training (``scale`` is given), a
    random part of the box is resized to ``size``, bilinearly by Pillow (with
    antialiasing). In tests, the centre of the box is cropped without
    resizing; a side of the box that is shorter than ``size`` is padded with
    pixels that are not in the mask.

    Required keys: ``img``, ``gt_seg_map``, ``crop_value`` (value of the
    class).

    Modified keys: ``img``; ``gt_seg_map``, which becomes 1 inside the class
    and 0 outside; ``img_shape``. The result is None if the box is empty or
    the random part has no pixel of the class. The centre of a box may have
    none either (of a ring): the mask is then 0 everywhere.

    Args:
        size (Sequence[int]): Height and width of the crop.
        scale (Sequence[float], optional): Smallest and largest area of a
            random part, as a share of the box. None: the centre of the box.
        ratio (Sequence[float]): Smallest and largest aspect ratio of a random
            part.
    """

    size: Sequence[int] = (224, 224)
    scale: Sequence[float] | None = None
    ratio: Sequence[float] = (3 / 4, 4 / 3)

    def transform(self, results: dict) -> dict | None:
        """Crop image and mask.

        Args:
            results (dict): The sample.

        Returns:
            dict, optional: The cropped sample, or None, see the class.
        """
        mask = results['gt_seg_map'] == results['crop_value']
        size = (self.size[0], self.size[1])
        top, left, height, width = _tight_box(mask)
        if not height or not width:
            return None
        if self.scale is not None:
            top, left, height, width = self._part(top, left, height, width)
        window = slice(top, top + height), slice(left, left + width)
        img, mask = results['img'][window], mask[window].astype(np.uint8)
        if self.scale is None:
            img, mask = (_centre(array, size) for array in (img, mask))
        elif mask.any():
            img, mask = (
                _resize(img, size, 'bilinear'),
                _resize(mask, size, 'nearest'),
            )
        else:
            return None
        results.update(img=img, gt_seg_map=mask, img_shape=size)
        return results

    def _part(
        self, top: int, left: int, height: int, width: int
    ) -> tuple[int, int, int, int]:
        assert self.scale is not None, 'only training crops a random part'
        part = RandomResizedCrop.get_params(
            torch.empty(1, height, width), list(self.scale), list(self.ratio)
        )
        return top + part[0], left + part[1], part[2], part[3]


def within_crops(labels: np.ndarray) -> np.ndarray:
    """Part of a label map (H, W) that crops can show.

    Args:
        labels (np.ndarray): Label map, or a mask.

    Returns:
        np.ndarray: The label map without its last row and column. Classes that
        it lacks have an empty box.
    """
    return labels[:-1, :-1]


def _tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, height and width of a mask (H, W)."""
    edges = []
    for axis in (1, 0):
        inside = np.flatnonzero(mask.any(axis=axis))
        if not len(inside):
            return 0, 0, 0, 0
        # Excludes the last row and column.
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
    """Crop the centre of an array (height, width, ...), padded with 0."""
    padding = [(0, 0)] * array.ndim
    for axis, (found, wanted) in enumerate(zip(array.shape, size)):
        start = max(found - wanted, 0) // 2
        array = array.take(range(start, min(start + wanted, found)), axis)
        missing = max(wanted - found, 0)
        padding[axis] = (missing // 2, missing - missing // 2)
    return np.pad(array, padding)
