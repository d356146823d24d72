# SPDX-License-Identifier: Apache-2.0
"""CLIP on masked crops of an image.

Letters: Q proposals, n of them valid, H, W pixels, S side of a crop, N
patches of a crop, D width of the tower, C embedding width.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from ovseg_mm.inference import in_float32
from ovseg_mm.structures import Regions
from ovseg_mm.utils.clip_statistics import CLIP_MEAN, CLIP_STD
from ovseg_mm.utils.errors import InputError

from ..layers import ContextShift, Replacements
from ..utils import (
    expand_boxes,
    is_exporting,
    is_in_onnx_export,
    mask_boxes,
    patches_with_mask,
    region_crops,
    region_masks,
)


@MODELS.register_module()
class CLIPRegionEncoder(BaseModule):
    """Encodes the region of an image under each mask.

    A mask is binarised, the image is cut to the tight box of the mask, pixels
    outside the mask are filled, and the crop is resized to a square. An empty
    mask has no region.

    Args:
        clip (dict): Config of the :class:`CLIPViT`.
        mask_threshold (float): Probability above which a pixel belongs to a
            mask.
        region_size (int): Side of a crop in pixels.
        fill (str): ``'mean'``, CLIP's mean colour, or ``'zero'``, black.
        expand_ratio (float): Factor of the boxes' sides.
        matting (bool): Whether crops are weighted with the probabilities
            instead of the binary mask.
        pooling (str): What a region's embedding is: ``'class'``, that of the
            class token; ``'mask'``, the mean direction of the patch tokens,
            weighted with the mask's share of each patch (for towers whose
            class token only knows whole images; to be used with
            ``last_block='value'``).
        shift (dict, optional): Arguments of :class:`ContextShift`, which
            replaces some background patches of a crop by the class token of
            the whole image. None: they keep the fill colour.
        batch_size (int): Crops encoded at a time. It bounds the memory;
            results do not depend on it.
        mean (Sequence[float]): CLIP's mean of red, green, blue in [0, 255].
        std (Sequence[float]): CLIP's standard deviation of these.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    mean: Tensor  # (3, 1, 1)
    std: Tensor  # (3, 1, 1)

    def __init__(
        self,
        clip: dict,
        mask_threshold: float = 0.5,
        region_size: int = 224,
        fill: str = 'mean',
        expand_ratio: float = 1.0,
        matting: bool = False,
        pooling: str = 'class',
        shift: dict | None = None,
        batch_size: int = 32,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if fill not in ('mean', 'zero'):
            raise ValueError(f"fill={fill!r} is not 'mean' or 'zero'")
        if pooling not in ('class', 'mask'):
            raise ValueError(f"pooling={pooling!r} is not 'class' or 'mask'")
        self.clip = MODELS.build(clip)
        self.mask_threshold = mask_threshold
        self.region_size = region_size
        self.fill = fill
        self.expand_ratio = expand_ratio
        self.matting = matting
        self.pooling = pooling
        self.shift = None if shift is None else ContextShift(**shift)
        self.batch_size = batch_size
        for name, values in (('mean', mean), ('std', std)):
            buffer = torch.tensor(values)[:, None, None]
            self.register_buffer(name, buffer, persistent=False)

    def forward(
        self,
        img: Tensor,
        masks: Tensor,
        class_tokens: Mapping[int, Tensor] | None = None,
    ) -> Regions:
        """Encode the regions of an image.

        Args:
            img (Tensor): RGB, (3, H, W), in [0, 255].
            masks (Tensor): Probabilities, (Q, H, W).
            class_tokens (Mapping[int, Tensor], optional): What ``shift``
                needs: class tokens of the whole image after the blocks of
                its tower, (1, D) each.

        Returns:
            Regions: Embeddings of the regions.
        """
        crops, valid, boxes = self.crop(img, masks)
        if not len(crops):
            return Regions(crops.new_empty(0, self.clip.embed_dims), valid)
        foreground = None
        if self.shift is not None or self.pooling == 'mask':
            foreground = region_masks(
                masks[valid] > self.mask_threshold, boxes, self.region_size
            )
        return Regions(self.encode(crops, foreground, class_tokens), valid)

    def encode(
        self,
        crops: Tensor,
        foreground: Tensor | None = None,
        class_tokens: Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Encode crops.

        Args:
            crops (Tensor): Normalised and filled, (n, 3, S, S).
            foreground (Tensor, optional): Pixels that show the region,
                (n, S, S) bool; needed for ``shift`` and to pool by masks.
            class_tokens (Mapping[int, Tensor], optional): See
                :meth:`forward`; here also one per crop, (n, D).

        Returns:
            Tensor: (n, C), not normalised.
        """
        replacements: Replacements = {}
        if self.shift is not None:
            assert foreground is not None, 'shift needs the masks'
            assert class_tokens is not None, 'shift needs class tokens'
            patches = patches_with_mask(foreground, self.clip.patch_size)
            replacements = self.shift(patches, class_tokens, self.training)
        embeddings = []
        for start in range(0, len(crops), self.batch_size):
            part = slice(start, start + self.batch_size)
            replaced = {
                block: (where[part], token if len(token) == 1 else token[part])
                for block, (where, token) in replacements.items()
            }
            dense = self.pooling == 'mask'
            features = self.clip(crops[part], replaced, dense)
            embeddings.append(features.cls)
            if dense:
                assert foreground is not None, 'pooling needs the masks'
                embeddings[-1] = _mask_pooled(features.dense, foreground[part])
        return torch.cat(embeddings)

    def crop(
        self, img: Tensor, masks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Cut the regions out.

        Args:
            img (Tensor): RGB, (3, H, W), in [0, 255].
            masks (Tensor): Probabilities, (Q, H, W).

        Returns:
            tuple[Tensor, Tensor, Tensor]: Normalised crops (n, 3, S, S),
            which proposals they are of, (Q,) bool, and their boxes, (n, 4).

        Raises:
            InputError: If the model is being exported.
        """
        if is_exporting() or is_in_onnx_export():
            raise InputError(
                'an exported model cannot cut regions out, since their place '
                'depends on the image: set decode_head.ensemble_weight=None, '
                'so that only proposals decide, or export backbone, neck and '
                'decode_head'
            )
        binary = masks > self.mask_threshold
        valid = binary.flatten(1).any(dim=1)
        binary = binary[valid]
        height, width = img.shape[1:]
        boxes = expand_boxes(
            mask_boxes(binary), self.expand_ratio, (height, width)
        )
        # Normalised first, so that the mean colour is zero.
        img = (img - self.mean) / self.std
        fill = (-self.mean / self.std).flatten()
        crops = region_crops(
            img,
            masks[valid] if self.matting else binary,
            boxes,
            self.region_size,
            None if self.fill == 'mean' else fill,
        )
        return crops, valid, boxes


@in_float32
def _mask_pooled(tokens: Tensor, foreground: Tensor) -> Tensor:
    """Sum (n, C) of the normalised tokens (n, C, h, w) in masks (n, S, S)."""
    tokens = F.normalize(tokens, dim=1)
    shares = F.interpolate(
        foreground[:, None].float(), tokens.shape[2:], mode='area'
    )
    return (tokens * shares).sum(dim=(2, 3))
