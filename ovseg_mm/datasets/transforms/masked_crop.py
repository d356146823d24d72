# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from torchvision.transforms import RandomResizedCrop


@TRANSFORMS.register_module()
class CropMaskedClass(BaseTransform):
    """Cut out one class of an image, whole or a random part of it.

    The box is tight around all pixels of the class; like ZSSeg's it never
    holds the last row and column of the image.

    Required keys: ``img``, ``gt_seg_map``, ``crop_value`` (the class).

    Modified keys: ``img``; ``gt_seg_map``, which becomes 1 where the class
    is and 0 elsewhere; ``img_shape``. The result is None if the class is not
    in the part.

    Args:
        size: Height and width of the crop, whatever its aspect ratio was.
        scale: Smallest and largest share of the box's area that a random
            part has. None: the whole box.
        ratio: Smallest and largest aspect ratio of a random part.
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
        box = _tight_box(mask)
        if self.scale is not None:
            box = self._part(box)
        top, left, height, width = box
        window = slice(top, top + height), slice(left, left + width)
        mask = mask[window].astype(np.uint8)
        if not mask.any():
            return None
        size = self.size[::-1]
        results['img'] = mmcv.imresize(
            np.ascontiguousarray(results['img'][window]), size, backend='cv2'
        )
        results['gt_seg_map'] = mmcv.imresize(
            mask, size, interpolation='nearest', backend='cv2'
        )
        results['img_shape'] = self.size
        return results

    def _part(self, box: tuple[int, int, int, int]) -> tuple[int, ...]:
        top, left, height, width = box
        if not height or not width:
            return box
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
        labels: Label map, or a mask.

    Returns:
        Without the last row and column. A class that it does not hold has an
        empty box.
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
