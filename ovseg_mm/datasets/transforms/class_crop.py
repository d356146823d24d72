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
    """Crop one class out of an image and its label map.

    The class is cropped by its bounding box. As in ZSSeg, pixels in the last
    row and the last column of the image are never part of the box.

    - In training (``scale`` is set), a random part of the box is cropped and
      resized to ``size`` (bilinear with antialiasing, by Pillow).
    - In tests (``scale=None``), the centre of the box is cropped to ``size``
      without resizing. A box smaller than ``size`` is padded with 0.

    Required keys: ``img``; ``gt_seg_map``; ``crop_value``, the value of the
    class in ``gt_seg_map``.

    Modified keys: ``img``; ``gt_seg_map``, which becomes a mask with 1 for
    pixels of the class and 0 elsewhere; ``img_shape``.

    The result is None if the box is empty. In training, the result is also
    None if the random part has no pixel of the class. In tests, the mask may
    be 0 everywhere, for example if the class is a ring around the centre of
    the box.

    Args:
        size (Sequence[int]): Height and width of the crop, in pixels.
        scale (Sequence[float], optional): Smallest and largest area of a
            random part, as a fraction of the area of the box, in (0, 1].
            None: crop the centre of the box, as in tests.
        ratio (Sequence[float]): Smallest and largest aspect ratio (width /
            height) of a random part.
    """

    size: Sequence[int] = (224, 224)
    scale: Sequence[float] | None = None
    ratio: Sequence[float] = (3 / 4, 4 / 3)

    def transform(self, results: dict) -> dict | None:
        """Crop the image and the label map of a sample.

        Args:
            results (dict): Sample to crop.

        Returns:
            dict, optional: Cropped sample. None if the bounding box is empty.
            In training, also None if the random part of the box has no pixel
            of the class.
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
    """Return the part of a label map from which class crops are taken.

    Args:
        labels (np.ndarray): Label map or mask, (H, W).

    Returns:
        np.ndarray: Label map without its last row and last column,
        (H - 1, W - 1).
    """
    return labels[:-1, :-1]


def _tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the bounding box of a mask (H, W): top, left, height, width.

    Pixels in the last row and the last column of the image are never part of
    the box. Height and width are 0 if no other pixel is in the mask.
    """
    edges = []
    for axis in (1, 0):
        inside = np.flatnonzero(mask.any(axis=axis))
        if not len(inside):
            return 0, 0, 0, 0
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
    """Crop the centre of an array (H, W, ...) to ``size``.

    An array smaller than ``size`` is padded with 0.
    """
    padding = [(0, 0)] * array.ndim
    for axis, (found, wanted) in enumerate(zip(array.shape, size)):
        start = max(found - wanted, 0) // 2
        array = array.take(range(start, min(start + wanted, found)), axis)
        missing = max(wanted - found, 0)
        padding[axis] = (missing // 2, missing - missing // 2)
    return np.pad(array, padding)
