# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from dataclasses import dataclass

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
@dataclass(eq=False)
class LoadCropCaption(BaseTransform):
    """Read a masked crop and the whole image that it was cut from.

    Required keys: ``crop_path``, ``img_path``. Added keys: ``crop`` and
    ``image``, both Pillow images in RGB.
    """

    def transform(self, results: dict) -> dict:
        """Read the crop and the whole image of a sample.

        Args:
            results (dict): Sample with ``crop_path`` and ``img_path``.

        Returns:
            dict: Sample with ``crop`` and ``image``.
        """
        for key, path in (('crop', 'crop_path'), ('image', 'img_path')):
            results[key] = Image.fromarray(read_image(results[path]))
        return results


@TRANSFORMS.register_module()
@dataclass(eq=False)
class PackCropCaption(BaseTransform):
    """Convert a masked crop and its whole image to input tensors.

    The model :class:`~ovseg_mm.models.ShiftedCLIP` takes these tensors. The
    crop and the whole image are resized to S x S pixels by Pillow:

    - The whole image is resized without keeping its aspect ratio (bilinear).
    - In training (``scale`` is set), a random part of the crop is resized
      without keeping its aspect ratio (bicubic).
    - In tests (``scale=None``), the shorter side of the crop is resized to S
      and the centre is cropped, as in CLIP's own transform (bicubic).

    Required keys: ``crop``, ``image``, ``caption``.

    Keys of the result: ``crops`` and ``images``, RGB pixels, (3, S, S) uint8;
    ``masks``, False for pixels of the fill colour, (S, S) bool; ``captions``;
    ``crop_paths``.

    Args:
        size (int): Height and width S of crop and image, in pixels.
        scale (Sequence[float], optional): Smallest and largest area of a
            random part, as a fraction of the area of the crop, in (0, 1].
            None: no random part, as in tests.
        ratio (Sequence[float]): Smallest and largest aspect ratio (width /
            height) of a random part.
        fill (Sequence[int]): Fill colour of the crops (red, green, blue).
    """

    size: int = 224
    scale: Sequence[float] | None = None
    ratio: Sequence[float] = (3 / 4, 4 / 3)
    fill: Sequence[int] = CLIP_MEAN_COLOUR

    def transform(self, results: dict) -> dict:
        """Resize the crop and the whole image, and convert both to tensors.

        Args:
            results (dict): Sample with ``crop``, ``image`` and ``caption``.

        Returns:
            dict: Packed sample with the keys that the class docstring lists.
        """
        crop, square = results['crop'], (self.size, self.size)
        if self.scale is not None:
            top, left, height, width = RandomResizedCrop.get_params(
                torch.empty(1, crop.height, crop.width),
                list(self.scale),
                list(self.ratio),
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
            masks=torch.from_numpy((crop != tuple(self.fill)).any(axis=2)),
            images=_channels_first(np.asarray(image)),
            captions=results['caption'],
            crop_paths=str(results.get('crop_path', '')),
        )


def _channels_first(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
