# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.functional import center_crop, resize

from ovseg_mm.utils.clip_statistics import CLIP_MEAN_COLOUR
from ovseg_mm.utils.image_files import read_image


@TRANSFORMS.register_module()
class LoadCropCaption(BaseTransform):
    """Read a masked crop and the image that it is of.

    Required keys: ``crop_path``, ``img_path``. Added keys: ``crop`` and
    ``image``, RGB pictures of Pillow.
    """

    def transform(self, results: dict) -> dict:
        """Read both files."""
        for key, path in (('crop', 'crop_path'), ('image', 'img_path')):
            results[key] = Image.fromarray(read_image(results[path]))
        return results

    def __repr__(self) -> str:
        """Name the transform."""
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class PackCropCaption(BaseTransform):
    """Make the input of :class:`ShiftedCLIP` of a masked crop.

    The whole image is resized to a square (Pillow's bilinear), whatever its
    aspect ratio, and so is a random part of the crop in training (bicubic).
    In tests the crop keeps its aspect ratio: its shorter side is resized to
    S and the centre cut out, as CLIP's own transform does.

    Required keys: ``crop``, ``image``, ``caption``. The result has ``crops``
    and ``images``, (3, S, S) uint8; ``masks``, (S, S) bool, where the crop
    has not the colour of its filling; ``captions``; ``crop_paths``.

    Args:
        size (int): Side S in pixels.
        scale (Sequence[float], optional): Smallest and largest share of the
            crop's area that a random part of it has. None: the centre of the
            crop.
        ratio (Sequence[float]): Smallest and largest aspect ratio of a random
            part.
        fill (Sequence[int]): Red, green and blue of the filling.
    """

    def __init__(
        self,
        size: int = 224,
        scale: Sequence[float] | None = None,
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        fill: Sequence[int] = CLIP_MEAN_COLOUR,
    ) -> None:
        self.size = size
        self.scale = None if scale is None else list(scale)
        self.ratio = list(ratio)
        self.fill = tuple(fill)

    def transform(self, results: dict) -> dict:
        """Cut, resize and turn into tensors."""
        crop, square = results['crop'], (self.size, self.size)
        if self.scale is not None:
            top, left, height, width = RandomResizedCrop.get_params(
                torch.empty(1, crop.height, crop.width), self.scale, self.ratio
            )
            crop = crop.crop((left, top, left + width, top + height))
            crop = crop.resize(square, Image.Resampling.BICUBIC)
        else:
            bicubic = InterpolationMode.BICUBIC
            crop = center_crop(resize(crop, self.size, bicubic), self.size)
        crop = np.asarray(crop)
        image = results['image'].resize(square, Image.Resampling.BILINEAR)
        return dict(
            crops=_channels_first(crop),
            masks=torch.from_numpy((crop != self.fill).any(axis=2)),
            images=_channels_first(np.asarray(image)),
            captions=results['caption'],
            crop_paths=str(results.get('crop_path', '')),
        )

    def __repr__(self) -> str:
        """Name the transform and its arguments."""
        return (
            f'{type(self).__name__}(size={self.size}, scale={self.scale}, '
            f'ratio={self.ratio}, fill={self.fill})'
        )


def _channels_first(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
