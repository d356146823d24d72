# SPDX-License-Identifier: Apache-2.0
"""CLIP on masked crops of an image.

Letters: Q proposals, n proposals that have a region, H x W pixels, S side of a
crop, D width of the tower, C embedding width.
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
    """Encodes the region of an image under each mask with CLIP.

    1. The probabilities of a mask are turned into a binary mask. An empty mask
       has no region.
    2. The image is cut to the bounding box of the mask, and pixels outside the
       mask are filled with one colour.
    3. The crop is resized to a square and encoded.

    Args:
        clip (dict): Config of the :class:`CLIPViT`.
        mask_threshold (float): Probability above which a pixel belongs to a
            mask.
        region_size (int): Side S of a crop in pixels.
        fill (str): Colour outside the mask: ``'mean'`` (CLIP's mean colour) or
            ``'zero'`` (black).
        expand_ratio (float): Factor by which the sides of the bounding box are
            enlarged.
        matting (bool): Whether image and fill colour are mixed with the mask
            probability of each pixel as weight. False: the fill colour
            replaces the image outside the binary mask.
        pooling (str): Embedding of a region. ``'class'``: embedding of the
            class token. ``'mask'``: sum of the normalised patch embeddings,
            weighted by the share of each patch inside the mask. Use ``'mask'``
            with ``last_block='value'`` in ``clip``, for CLIP weights that were
            not fine-tuned on crops.
        shift (dict, optional): Arguments of :class:`ContextShift`, which
            replaces some background patches of a crop by the class token of
            the whole image. None: no patches are replaced.
        batch_size (int): Number of crops that are encoded at a time, which
            limits the memory.
        mean (Sequence[float]): CLIP's mean of R, G and B, in [0, 255].
        std (Sequence[float]): CLIP's standard deviation of R, G and B.
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
            raise ValueError(
                f"fill={fill!r} is not 'mean' or 'zero'; set one of these"
            )
        if pooling not in ('class', 'mask'):
            raise ValueError(
                f"pooling={pooling!r} is not 'class' or 'mask'; set one of "
                'these'
            )
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
            img (Tensor): Image, RGB in [0, 255], (3, H, W).
            masks (Tensor): Mask probabilities of Q proposals, (Q, H, W).
            class_tokens (Mapping[int, Tensor], optional): Class token of the
                whole image after each block in ``shift['blocks']``, (1, D)
                each, for width D. The keys are block indices. Needed if the
                option ``shift`` is not None.

        Returns:
            Regions: Embeddings of the n regions, (n, C); and whether each
            proposal has a region, (Q,) bool.
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
            crops (Tensor): n normalised crops with the fill colour outside
                the masks, (n, 3, S, S).
            foreground (Tensor, optional): True at pixels of the region, (n, S,
                S) bool. Needed if the option ``shift`` is not None or
                ``pooling`` is ``'mask'``.
            class_tokens (Mapping[int, Tensor], optional): Class tokens of the
                whole images after each block in ``shift['blocks']``. The keys
                are block indices. The shape is (1, D) if all crops are of one
                image, and (n, D) otherwise; D is the width of the tokens.
                Needed if the option ``shift`` is not None.

        Returns:
            Tensor: Embeddings of width C, (n, C), not normalised.
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
                embeddings[-1] = mask_pooled(features.dense, foreground[part])
        return torch.cat(embeddings)

    def crop(
        self, img: Tensor, masks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Cut the regions out of an image.

        Args:
            img (Tensor): Image, RGB in [0, 255], (3, H, W).
            masks (Tensor): Mask probabilities of Q proposals, (Q, H, W).

        Returns:
            tuple[Tensor, Tensor, Tensor]: Normalised crops, (n, 3, S, S);
            True for the n proposals that have a region, (Q,) bool; boxes
            (left, top, right, bottom) of the regions, (n, 4) int64.

        Raises:
            InputError: If the model is being exported.
        """
        if is_exporting() or is_in_onnx_export():
            raise InputError(
                'a model that uses regions cannot be exported, since the '
                'boxes of the regions depend on the image; set '
                'decode_head.ensemble_weight=None to classify the proposals '
                'without regions, or export backbone, neck and decode_head '
                'without the segmentor'
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
def mask_pooled(tokens: Tensor, foreground: Tensor) -> Tensor:
    """Sum the normalised patch embeddings inside each mask.

    Args:
        tokens (Tensor): Patch embeddings of n crops, (n, C, h, w).
        foreground (Tensor): True inside the masks, (n, S, S) bool, for crops
            of S x S pixels.

    Returns:
        Tensor: Sums, weighted by the share of each patch inside the mask, (n,
        C).
    """
    tokens = F.normalize(tokens, dim=1)
    shares = F.interpolate(
        foreground[:, None].float(), tokens.shape[2:], mode='area'
    )
    return (tokens * shares).sum(dim=(2, 3))
