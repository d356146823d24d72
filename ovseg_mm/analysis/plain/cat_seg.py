# SPDX-License-Identifier: Apache-2.0
"""CAT-Seg's head as in its paper (sections 3.2 to 3.4), not optimised.

Letters: B images, T classes, L classes after padding, P prompts per class, C
embedding width, h x w patches of an image, E width of the aggregator, G width
of the guidance, n patches of a window.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ovseg_mm.models.decode_heads.cat_seg.spatial import (
    from_windows,
    to_windows,
    window_mask,
)
from ovseg_mm.structures import CostFeatures

# Logit of a class that is excluded from an image.
CUT_LOGIT = -100.0


def cost_head(
    head: Any, feats: CostFeatures, text: Tensor, max_words: int | None = None
) -> Tensor:
    """Compute the logits of all classes.

    Args:
        head (CATSegCostHead): Head whose weights and options are used.
        feats (CostFeatures): Patch embeddings and guidance maps of the
            images.
        text (Tensor): Text embeddings, (T, P, C).
        max_words (int, optional): Maximum number of classes in each image,
            see :meth:`CATSegCostHead.forward`.

    Returns:
        Tensor: Logits, (B, T, 4h, 4w). They are -100 for classes that
        ``max_words`` or the head's ``pad_len`` excludes.
    """
    batch, classes = len(feats.image), len(text)
    text = F.normalize(text.float(), dim=-1)
    image = F.normalize(feats.image.float(), dim=1)
    cost = torch.einsum('bchw,tpc->bpthw', image, text)
    text = text.mean(dim=1).expand(batch, -1, -1)
    limits = (classes, head.pad_len, max_words)
    count = min(limit for limit in limits if limit is not None)
    kept = None
    if count < classes:
        best = cost.amax(dim=(1, 3, 4))
        kept = best.topk(count, dim=1).indices.sort(dim=1).values
        each = zip(cost, text, kept)
        parts = [(x[:, rows], words[rows]) for x, words, rows in each]
        cost, text = map(torch.stack, zip(*parts))
    x = head.cost_embedding(cost.transpose(1, 2).flatten(0, 1))
    x = x.unflatten(0, (batch, -1)).transpose(1, 2)  # (B, E, T, h, w)
    appearance = head.appearance_projection(feats.appearance).relu()
    if head.text_projection is None:
        text = text[..., :0]
    else:
        text = head.text_projection(F.normalize(text, dim=-1)).relu()
    for layer in head.layers:
        x = _spatial(layer.spatial, x, appearance)
        x = _classwise(layer.classwise, x, text)
    logits = _decode(head, x, feats.decoder)
    if kept is None:
        return logits
    full = logits.new_full((batch, classes, *logits.shape[2:]), CUT_LOGIT)
    for out, part, rows in zip(full, logits, kept):
        out[rows] = part
    return full


def _spatial(spatial: Any, x: Tensor, guidance: Tensor) -> Tensor:
    """Attend within the windows of each class map.

    The class maps are (B, E, T, h, w). The guidance is (B, G, h, w).
    """
    batch, _, classes, height, width = x.shape
    x = x.permute(0, 2, 3, 4, 1).flatten(0, 1).contiguous()
    guidance = guidance.permute(0, 2, 3, 1).repeat_interleave(classes, dim=0)
    guidance = spatial.guidance_norm(guidance)
    for block in spatial.blocks:
        x = _window_block(block, x, guidance)
    x = x.unflatten(0, (batch, classes))
    return x.permute(0, 4, 1, 2, 3).contiguous()


def _window_block(block: Any, x: Tensor, guidance: Tensor) -> Tensor:
    """Apply one block with windowed attention to class maps.

    The class maps are (B * T, h, w, E). The guidance is (B * T, h, w, G).
    """
    grid, side = (x.shape[1], x.shape[2]), block.window_size
    size, shift = (side, side), block.shift
    if block.mask_padding and max(grid) <= side:
        size, shift = grid, 0
    tokens = block.norm1(x)
    windows = to_windows(
        torch.cat([tokens, guidance], dim=-1)[:, None], size, shift
    )[:, 0]  # (B * T, windows, n, E + G)
    attn = block.attn
    q, k, v = (
        part.unflatten(-1, (attn.num_heads, -1)).transpose(2, 3)
        for part in (
            attn.q(windows),
            attn.k(windows),
            attn.v(windows[..., : x.shape[-1]]),
        )
    )
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    mask = window_mask(grid, size, shift, block.mask_padding)
    if mask is not None:
        scores = scores + mask[:, None].to(scores)
    out = (scores.softmax(dim=-1) @ v).transpose(2, 3).flatten(3)
    out = from_windows(attn.proj(out)[:, None], grid, size, shift)[:, 0]
    x = x + out
    return x + block.mlp(block.norm2(x))


def _classwise(layer: Any, x: Tensor, guidance: Tensor) -> Tensor:
    """Attend over the classes at each position.

    The class maps are (B, E, T, h, w). The guidance is (B, T, G).
    """
    batch, _, classes, height, width = x.shape
    pooling = layer.train_pooling if layer.training else layer.test_pooling
    maps = x.transpose(1, 2).flatten(0, 1)
    pooled = F.avg_pool2d(maps, pooling)
    grid = pooled.shape[2:]
    y = pooled.unflatten(0, (batch, classes)).permute(0, 3, 4, 1, 2)
    missing = max((layer.pad_len or 0) - classes, 0)
    if missing:
        token = layer.padding_token.expand(batch, *grid, missing, -1)
        y = torch.cat([y, token], dim=3)
        token = layer.padding_guidance.expand(batch, missing, -1)
        guidance = torch.cat([guidance, token], dim=1)
    y = y.flatten(0, 2)  # (B * h * w, L, E)
    guidance = guidance.repeat_interleave(grid[0] * grid[1], dim=0)
    z = layer.norm1(y)
    q, k, v = (
        part.unflatten(-1, (layer.num_heads, -1))
        for part in (
            layer.q(torch.cat([z, guidance], dim=-1)),
            layer.k(torch.cat([z, guidance], dim=-1)),
            layer.v(z),
        )
    )
    linear = layer.attend.__name__ == '_linear_attention'
    attend = _linear_attention if linear else _full_attention
    y = y + attend(q, k, v).flatten(2)
    z = layer.norm2(y)
    y = y + layer.mlp(z)
    if layer.ffn_identity:
        y = y + z
    y = y.unflatten(0, (batch, *grid))  # (B, h', w', L, E)
    y = y.permute(0, 3, 4, 1, 2).flatten(0, 1)
    y = F.interpolate(y, (height, width), mode='bilinear', align_corners=True)
    y = y.unflatten(0, (batch, -1))[:, :classes]
    return x + y.transpose(1, 2)


def _linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Linear attention with the kernel elu + 1.

    Arguments and result are (positions, L, heads, E / heads).
    """
    length = v.shape[1]
    q, k, v = F.elu(q) + 1, F.elu(k) + 1, v / length
    products = torch.einsum('nshd,nshv->nhdv', k, v)
    total = torch.einsum('nlhd,nhd->nlh', q, k.sum(dim=1)) + 1e-6
    return torch.einsum('nlhd,nhdv,nlh->nlhv', q, products, 1 / total) * length


def _full_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention.

    Arguments and result are (positions, L, heads, E / heads).
    """
    scores = torch.einsum('nlhd,nshd->nlsh', q, k) * q.shape[-1] ** -0.5
    return torch.einsum('nlsh,nshd->nlhd', scores.softmax(dim=2), v)


def _decode(head: Any, x: Tensor, guides: tuple[Tensor, ...]) -> Tensor:
    """Upsample class maps (B, E, T, h, w) to logits (B, T, 4h, 4w)."""
    batch, _, classes = x.shape[:3]
    x = x.transpose(1, 2).flatten(0, 1)
    for block, projection, guide in zip(
        head.upsample_blocks, head.decoder_projections, guides
    ):
        guide = projection(guide).relu().repeat_interleave(classes, dim=0)
        x = block.conv(torch.cat([block.up(x), guide], dim=1))
    logits = head.head(head.dropout(x))
    return logits[:, 0].unflatten(0, (batch, classes))
