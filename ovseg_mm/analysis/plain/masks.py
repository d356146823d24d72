# SPDX-License-Identifier: Apache-2.0
"""Mask proposals and their regions, computed as in ZSSeg and SCAN.

Letters: Q mask proposals, n masks that have a region, C channels, H x W
pixels, S side of a resized crop.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovseg_mm.models.region_encoders.clip_region_encoder import mask_pooled
from ovseg_mm.models.utils import patches_with_mask
from ovseg_mm.structures import MaskProposals, PixelFeatures, Regions

from ..replacing import replaced


def proposals(head: Any, feats: PixelFeatures) -> MaskProposals:
    """Compute the mask proposals of all decoder states.

    They are computed in evaluation mode too.

    Args:
        head (MaskProposalHead): Head whose weights are used.
        feats (PixelFeatures): Output of the pixel decoder.

    Returns:
        MaskProposals: Proposals of the batch. In training mode, they are the
        proposals of all decoder states. In evaluation mode, they are the
        proposals of the last state.
    """
    features = feats.mask_features

    def masks_of(states: Tensor, size: tuple[int, int]) -> Tensor:
        head.class_embed(states)
        masks = head.mask_logits(states, features)
        return F.interpolate(masks, size, mode='bilinear')

    training = head.decoder.training
    # In training mode, the decoder returns all states. The mode of its layers
    # does not change.
    with replaced(head.decoder, 'training', True):
        states = head.decoder(feats.maps, masks_of)
    embeddings = head.class_embed(states)
    masks = head.mask_logits(states, features)
    if training:
        return MaskProposals(embeddings, masks)
    return MaskProposals(embeddings[-1:], masks[-1:])


def attention(
    layer: nn.MultiheadAttention, *args: Any, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """Apply an attention layer that also returns its attention weights.

    With ``need_weights=True``, which is PyTorch's default, the layer does not
    use PyTorch's faster fused operator.

    Args:
        layer (nn.MultiheadAttention): Layer whose parameters are used.
        *args (Any): Positional arguments of the layer.
        **kwargs (Any): Keyword arguments of the layer. ``need_weights`` is
            set to True.

    Returns:
        tuple[Tensor, Tensor | None]: Output tokens and attention weights.
    """
    kwargs['need_weights'] = True
    return nn.MultiheadAttention.forward(layer, *args, **kwargs)


def regions(
    encoder: Any, img: Tensor, masks: Tensor, class_tokens: Any = None
) -> Regions:
    """Encode the region under each mask, with all crops in one batch.

    A mask has no region if none of its probabilities is above
    ``encoder.mask_threshold``.

    Args:
        encoder (CLIPRegionEncoder): Encoder whose weights are used.
        img (Tensor): RGB image, (3, H, W), in [0, 255].
        masks (Tensor): Mask probabilities, (Q, H, W).
        class_tokens (Mapping[int, Tensor], optional): Class tokens of the
            whole image, see :class:`CLIPRegionEncoder`.

    Returns:
        Regions: Embeddings of the n masks that have a region, (n, C), and
        which of the Q masks have a region, (Q,) bool.
    """
    binary = masks > encoder.mask_threshold
    valid = binary.flatten(1).any(dim=1)
    crops, shapes = [], []
    for mask, shape in zip(masks[valid], binary[valid]):
        top, bottom, left, right = _box(shape, encoder.expand_ratio)
        inside = slice(top, bottom), slice(left, right)
        shapes.append(
            _resized(shape[inside][None].float(), encoder, 'nearest')
        )
        weight = (mask if encoder.matting else shape)[inside].float()
        fill = encoder.mean * (encoder.fill == 'mean')
        crop = img[:, inside[0], inside[1]] * weight + fill * (1 - weight)
        crop = (crop - encoder.mean) / encoder.std
        crops.append(_resized(crop, encoder, 'bicubic'))
    if not crops:
        return Regions(img.new_empty(0, encoder.clip.embed_dims), valid)
    foreground = torch.cat(shapes)[:, 0] > 0
    replacements = None
    if encoder.shift is not None:
        patches = patches_with_mask(foreground, encoder.clip.patch_size)
        replacements = encoder.shift(patches, class_tokens, encoder.training)
    features = encoder.clip(torch.cat(crops), replacements)
    if encoder.pooling == 'mask':
        return Regions(mask_pooled(features.dense, foreground), valid)
    return Regions(features.cls, valid)


def _resized(x: Tensor, encoder: Any, mode: str) -> Tensor:
    """Resize a crop (C, height, width) to a square (1, C, S, S)."""
    side = encoder.region_size
    return F.interpolate(x[None], (side, side), mode=mode)


def _box(mask: Tensor, ratio: float) -> tuple[int, int, int, int]:
    """Bounding box of a mask (H, W), enlarged by the factor ``ratio``.

    The result is top, bottom, left and right. The box has the rows [top,
    bottom) and the columns [left, right).
    """
    ends: list[int] = []
    for axis in (1, 0):
        inside = mask.any(dim=axis).nonzero()
        low, high = int(inside[0]), int(inside[-1]) + 1
        if ratio != 1:
            centre, half = (low + high) / 2, (high - low) / 2 * ratio
            size = mask.shape[1 - axis]
            low, high = (
                min(max(int(edge), 0), size)
                for edge in (centre - half, centre + half)
            )
        ends += [low, high]
    top, bottom, left, right = ends
    return top, bottom, left, right
