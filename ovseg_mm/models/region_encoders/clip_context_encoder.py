# SPDX-License-Identifier: Apache-2.0
"""Encoder that runs CLIP on whole images.

Letters: B images, H x W pixels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from ovseg_mm.structures import ImageContext
from ovseg_mm.utils.clip_statistics import CLIP_MEAN, CLIP_STD


@MODELS.register_module()
class CLIPContextEncoder(BaseModule):
    """Encodes whole images, resized to the square that CLIP was trained with.

    Args:
        clip (dict): Config of the :class:`CLIPViT`. Tokens of the blocks in
            its ``out_indices`` are returned.
        mean (Sequence[float]): CLIP's mean of R, G and B, in [0, 255].
        std (Sequence[float]): CLIP's standard deviation of R, G and B.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    mean: Tensor  # (3, 1, 1)
    std: Tensor  # (3, 1, 1)

    def __init__(
        self,
        clip: dict,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.clip = MODELS.build(clip)
        for name, values in (('mean', mean), ('std', std)):
            buffer = torch.tensor(tuple(values))[:, None, None]
            self.register_buffer(name, buffer, persistent=False)

    def check_blocks(self, blocks: Sequence[int], user: str) -> None:
        """Check that :meth:`forward` returns the tokens of some blocks.

        Args:
            blocks (Sequence[int]): Indices of the blocks whose tokens are
                needed, counted from 0.
            user (str): Name of the module that needs the tokens, for the
                error message.

        Raises:
            ValueError: If a block is missing from ``out_indices`` of the
                tower.
        """
        missing = sorted(set(blocks).difference(self.clip.out_indices))
        if missing:
            raise ValueError(
                f'{user} needs the tokens after the blocks {missing}, but '
                'context_encoder.clip.out_indices is '
                f'{self.clip.out_indices}; add these blocks to out_indices'
            )

    def forward(
        self, img: Tensor, size: tuple[int, int] | None = None
    ) -> ImageContext:
        """Encode images.

        Args:
            img (Tensor): Images, RGB in [0, 255], (B, 3, H, W).
            size (tuple[int, int], optional): Height and width to which
                images are padded before they are resized. Padding is added on
                the right and at the bottom, in CLIP's mean colour. None: no
                padding.

        Returns:
            ImageContext: Class embedding and tokens of each image.
        """
        img = (img - self.mean) / self.std
        if size is not None:
            bottom, right = size[0] - img.shape[2], size[1] - img.shape[3]
            img = F.pad(img, (0, right, 0, bottom))
        side = self.clip.image_size
        if img.shape[2:] != (side, side):
            img = F.interpolate(img, (side, side), mode='nearest')
        features = self.clip(img)
        tokens = dict(zip(self.clip.out_indices, features.layers))
        return ImageContext(features.cls, tokens)
