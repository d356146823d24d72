# SPDX-License-Identifier: Apache-2.0
from typing import NamedTuple

from torch import Tensor

from ..backbones import ImageContext


class PixelFeatures(NamedTuple):
    """What the head of a mask method gets of a batch of images.

    A pixel decoder gives it, without ``context``, which the segmentor adds
    where it has a tower that looks at whole images.

    Attributes:
        mask_features (Tensor): What masks are products with, (B, C, h, w) at
            stride 4.
        maps (tuple[Tensor, ...]): What queries attend to, coarsest first.
        context (ImageContext, optional): What CLIP says of the whole images.
    """

    mask_features: Tensor
    maps: tuple[Tensor, ...]
    context: ImageContext | None = None
