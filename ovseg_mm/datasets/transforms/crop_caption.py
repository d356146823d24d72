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
    """Read a masked crop and its whole image.

    Required keys: ``crop_path``, ``img_path``. Added keys: ``crop`` and
    ``image``, RGB images of Pillow.
    """

    def transform(self, results: dict) -> dict:
        """Read both files.

        Args:
            results (dict): The sample.

        Returns:
            dict: The sample with ``crop`` and ``image``.
        """
        for key, path in (('crop', 'crop_path'), ('image', 'img_path')):
            results[key] = Image.fromarray(read_image(results[path]))
        return results


@TRANSFORMS.register_module()
@dataclass(eq=False)
class PackCropCaption(BaseTransform):
    """Convert a masked crop to the input of :class:`ShiftedCLIP`.

    The whole image is resized to S x S pixels (bilinear, by Pillow), without
    its aspect ratio; in training, so is a random part of the crop (bicubic).
    In tests, the crop keeps its aspect ratio: its shorter side is resized to
    S and its centre cropped, as in CLIP's own transform.

    Required keys: ``crop``, ``image``, ``caption``. The result has ``crops``
    and ``images``, (3, S, S) uint8; ``masks``, (S, S) bool, False for pixels
    of the fill colour; ``captions``; ``crop_paths``.

    Args:
        size (int): Side S in pixels.
        scale (Sequence[float], optional): Smallest and largest area of a
            random part, as a share of the crop. None: the centre of the crop.
        ratio (Sequence[float]): Smallest and largest aspect ratio of a random
            part.
        fill (Sequence[int]): Fill colour of the crops (red, green, blue).
    """

    size: int = 224
    scale: Sequence[float] | None = None
    ratio: Sequence[float] = (3 / 4, 4 / 3)
    fill: Sequence[int] = CLIP_MEAN_COLOUR

    def transform(self, results: dict) -> dict:
        """Crop, resize and convert to tensors.

        Args:
            results (dict): The sample.

        Returns:
            dict: The packed sample, see the class.
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
