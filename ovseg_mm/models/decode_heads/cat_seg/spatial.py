# SPDX-License-Identifier: Apache-2.0
"""Spatial aggregation: two windowed attention blocks on every class map.

Letters: B images, T classes, h x w tokens of a class map, E width of the class
maps, G width of the appearance guidance, S side of an attention window, n =
S * S tokens of a window.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...utils import apply_to_chunks, is_exporting, recomputed

# Default width of the projected guidance of both aggregations.
GUIDANCE_DIMS = 128


class SpatialAggregation(nn.Module):
    """Two Swin blocks on each class map, guided by appearance.

    The windows of the second block are shifted. In each block, the maps are
    normalised by a LayerNorm and then padded to a multiple of the window size,
    with zeros on the right and at the bottom.

    Args:
        embed_dims (int): Channels E of the class maps.
        guidance_dims (int): Channels G of the appearance guidance.
        num_heads (int): Number of attention heads.
        window_size (int): Side S of the attention windows in tokens.
        mlp_ratio (int): Hidden width of the MLPs, as a multiple of E.
        mask_padding (bool): Whether padding is excluded from the attention. If
            True, a map that fits into one window is neither padded nor
            shifted. False: windows as in MMSegmentation's ``ShiftWindowMSA``.
    """

    def __init__(
        self,
        embed_dims: int,
        guidance_dims: int = GUIDANCE_DIMS,
        num_heads: int = 4,
        window_size: int = 12,
        mlp_ratio: int = 4,
        mask_padding: bool = True,
    ) -> None:
        super().__init__()
        self.guidance_norm = nn.LayerNorm(guidance_dims)
        self.blocks = nn.ModuleList(
            WindowBlock(
                embed_dims,
                guidance_dims,
                num_heads,
                window_size,
                shift,
                mlp_ratio,
                mask_padding,
            )
            for shift in (0, window_size // 2)
        )

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Aggregate over space.

        Args:
            x (Tensor): Maps of T classes, (B, T, h, w, E). They may be
                overwritten if gradients are disabled.
            guidance (Tensor): Appearance guidance, (B, h, w, G).

        Returns:
            Tensor: Refined class maps, (B, T, h, w, E).
        """
        guidance = self.guidance_norm(guidance)
        blocks: Iterable[Any] = self.blocks
        prepared = [block.prepare(guidance) for block in blocks]

        def apply(part: Tensor) -> Tensor:
            for block, shared in zip(self.blocks, prepared):
                part = block(part, *shared)
            return part

        return apply_to_chunks(apply, x, overwrite=True)


class WindowBlock(nn.Module):
    """Pre-norm Swin block without a relative position bias.

    Args:
        embed_dims (int): Channels E of the class maps.
        guidance_dims (int): Channels G of the appearance guidance.
        num_heads (int): Number of attention heads.
        window_size (int): Side S of the attention windows in tokens.
        shift (int): Shift of the windows in tokens; 0: no shift.
        mlp_ratio (int): Hidden width of the MLP, as a multiple of E.
        mask_padding (bool): See :class:`SpatialAggregation`.
    """

    def __init__(
        self,
        embed_dims: int,
        guidance_dims: int,
        num_heads: int,
        window_size: int,
        shift: int,
        mlp_ratio: int,
        mask_padding: bool = True,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift = shift
        self.mask_padding = mask_padding
        self.norm1 = nn.LayerNorm(embed_dims)
        self.attn = GuidedAttention(embed_dims, guidance_dims, num_heads)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dims, mlp_ratio * embed_dims),
            nn.GELU(),
            nn.Linear(mlp_ratio * embed_dims, embed_dims),
        )

    def prepare(
        self, guidance: Tensor
    ) -> tuple[Callable[[Tensor], Tensor], Tensor | None]:
        """Compute the arguments of :meth:`forward` that all classes share.

        Args:
            guidance (Tensor): Appearance guidance, (B, h, w, G).

        Returns:
            tuple[Callable, Tensor | None]: Function that projects tokens to
            queries, keys and values, from :func:`guided_qkv`; and mask that is
            added to the attention logits of the n tokens of each window,
            (windows, n, n), from :func:`window_mask`. The mask is None if
            nothing is masked.
        """
        h, w = guidance.shape[1:3]
        size, shift = self._windows(h, w)
        guide = to_windows(guidance[:, None], size, shift)
        attn = self.attn
        mask_of: Callable[..., Tensor | None] = window_mask
        if is_exporting():  # the cache would keep what tensors stand for
            mask_of = window_mask.__wrapped__
        mask = mask_of((h, w), size, shift, self.mask_padding)
        return guided_qkv(attn.q, attn.k, attn.v, guide), mask

    def forward(
        self,
        x: Tensor,
        project: Callable[[Tensor], Tensor],
        mask: Tensor | None,
    ) -> Tensor:
        """Apply the window attention and the MLP.

        Args:
            x (Tensor): Maps of T classes, (B, T, h, w, E).
            project (Callable): Function that projects tokens to queries, keys
                and values; the first result of :meth:`prepare`.
            mask (Tensor, optional): Mask of the attention; the second result
                of :meth:`prepare`.

        Returns:
            Tensor: Refined class maps, (B, T, h, w, E).
        """
        h, w = x.shape[2:4]
        size, shift = self._windows(h, w)

        def qkv(x: Tensor) -> Tensor:
            return project(to_windows(self.norm1(x), size, shift))

        def mlp(x: Tensor) -> Tensor:
            return self.mlp(self.norm2(x))

        windows = self.attn(recomputed(qkv, x), mask)
        x = x + from_windows(windows, (h, w), size, shift)
        return x + recomputed(mlp, x)

    def _windows(self, h: int, w: int) -> tuple[tuple[int, int], int]:
        """Size (height, width) and shift of the windows of an h x w map."""
        if self.mask_padding and max(h, w) <= self.window_size:
            return (h, w), 0
        return (self.window_size,) * 2, self.shift


class GuidedAttention(nn.Module):
    """Window attention whose queries and keys depend on the guidance.

    Args:
        embed_dims (int): Channels E of the tokens.
        guidance_dims (int): Channels G of the guidance.
        num_heads (int): Number of heads.
    """

    def __init__(
        self, embed_dims: int, guidance_dims: int, num_heads: int
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(embed_dims + guidance_dims, embed_dims)
        self.k = nn.Linear(embed_dims + guidance_dims, embed_dims)
        self.v = nn.Linear(embed_dims, embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, qkv: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows.

        Args:
            qkv (Tensor): Queries, keys and values, from :func:`guided_qkv`,
                (B, T, windows, n, 3 * E), for T classes and n tokens per
                window.
            mask (Tensor, optional): Mask that is added to the attention
                logits, (windows, n, n). None: nothing is masked.

        Returns:
            Tensor: Tokens after attention, (B, T, windows, n, E).
        """
        shape = qkv.shape[:-1]
        parts = qkv.unflatten(-1, (3, self.num_heads, -1))
        if mask is None:  # views of (B * T * windows, heads, n, E / heads)
            q, k, v = parts.flatten(0, 2).permute(2, 0, 3, 1, 4)
            out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
            return self.proj(out.reshape(*shape, -1))
        # Windows and heads share an axis, (B * T, windows * heads, n, E /
        # heads), so that the mask is broadcast over images and classes.
        parts = parts.flatten(0, 1).permute(3, 0, 1, 4, 2, 5)
        q, k, v = parts.flatten(2, 3)
        mask = mask.to(q).repeat_interleave(self.num_heads, dim=0)[None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

        def project(out: Tensor) -> Tensor:
            out = out.unflatten(1, (shape[2], -1)).transpose(2, 3)
            return self.proj(out.reshape(*shape, -1))

        return recomputed(project, out)


def guided_qkv(
    q: nn.Linear, k: nn.Linear, v: nn.Linear, guidance: Tensor
) -> Callable[[Tensor], Tensor]:
    """Make the function that projects tokens to queries, keys and values.

    The layers of queries and keys take each token concatenated with the
    guidance. Their output is a sum of two terms: one depends only on the
    token, the other only on the guidance. The guidance term is computed only
    once, here. The returned function computes the token terms of queries, keys
    and values by one matrix product.

    Args:
        q (nn.Linear): Layer of the queries, E + G to E channels.
        k (nn.Linear): Layer of the keys, E + G to E channels.
        v (nn.Linear): Layer of the values, E to E channels.
        guidance (Tensor): Guidance, (..., G), which is broadcast to the axes
            of the tokens.

    Returns:
        Callable: Function from tokens (..., E) to concatenated queries, keys
        and values (..., 3 * E).
    """

    def separately(x: Tensor) -> Tensor:
        shape = (*x.shape[:-1], guidance.shape[-1])
        guided = torch.cat([x, guidance.expand(shape)], dim=-1)
        return torch.cat([q(guided), k(guided), v(x)], dim=-1)

    def together(x: Tensor) -> Tensor:
        return F.linear(x, weight).add_(shared)

    if not isinstance(q.weight, Tensor):  # of a quantised layer
        return separately
    width = v.in_features
    weight = torch.cat([q.weight[:, :width], k.weight[:, :width], v.weight])
    shares = [
        F.linear(guidance, layer.weight[:, width:], layer.bias)
        for layer in (q, k)
    ]
    shared = torch.cat([*shares, v.bias.expand_as(shares[0])], dim=-1)
    return together


def to_windows(x: Tensor, size: tuple[int, int], shift: int) -> Tensor:
    """Pad class maps, shift them and cut them into windows.

    Args:
        x (Tensor): Class maps, (B, T, h, w, E).
        size (tuple[int, int]): Height and width of a window in tokens.
        shift (int): Number of tokens by which the maps are moved up and to the
            left.

    Returns:
        Tensor: Windows of n tokens, (B, T, windows, n, E). The tokens of a
        window are ordered row by row.
    """
    h, w = x.shape[2:4]
    bottom, right = -h % size[0], -w % size[1]
    if bottom or right:
        x = F.pad(x, (0, 0, 0, right, 0, bottom))
    if shift:
        x = x.roll((-shift, -shift), dims=(2, 3))
    x = x.unflatten(2, (-1, size[0])).unflatten(4, (-1, size[1]))
    return x.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def from_windows(
    x: Tensor, shape: tuple[int, int], size: tuple[int, int], shift: int
) -> Tensor:
    """Join windows to class maps. Inverse of :func:`to_windows`.

    Args:
        x (Tensor): Windows of n tokens, (B, T, windows, n, E).
        shape (tuple[int, int]): Height h and width w of the class maps.
        size (tuple[int, int]): Height and width of a window in tokens.
        shift (int): Argument ``shift`` of :func:`to_windows`.

    Returns:
        Tensor: Class maps, (B, T, h, w, E).
    """
    rows, cols = -(-shape[0] // size[0]), -(-shape[1] // size[1])
    x = x.unflatten(3, size).unflatten(2, (rows, cols))
    x = x.transpose(3, 4).flatten(4, 5).flatten(2, 3)
    if shift:
        x = x.roll((shift, shift), dims=(2, 3))
    return x[:, :, : shape[0], : shape[1]]


@lru_cache(maxsize=64)
def window_mask(
    shape: tuple[int, int],
    size: tuple[int, int],
    shift: int,
    mask_padding: bool = True,
) -> Tensor | None:
    """Mask that is added to the attention logits of shifted windows.

    The mask is -100 for two tokens of a window that must not attend to each
    other, and 0 for other pairs of tokens. Tokens from opposite sides of the
    map, which the shift brings into one window, must not attend to each other.
    With ``mask_padding``, a token of the map and a padding token must not
    attend to each other either.

    Args:
        shape (tuple[int, int]): Height and width of the class maps.
        size (tuple[int, int]): Height and width of a window in tokens.
        shift (int): Shift of the windows in tokens.
        mask_padding (bool): Whether to mask padding tokens.

    Returns:
        Tensor, optional: Mask for windows of n tokens, (windows, n, n).
        None if all values are 0.
    """
    padded = [-(-side // step) * step for side, step in zip(shape, size)]
    if not shift and (padded == list(shape) or not mask_padding):
        return None
    axes = []
    for side, full, step in zip(shape, padded, size):
        region = torch.zeros(full)
        if shift:
            region[full - step : full - shift] = 1
            region[full - shift :] = 2
        region = region.roll(shift)  # undone by the roll below
        if mask_padding:
            region[side:] = 3
        axes.append(region)
    # Regions are marked in rolled coordinates, where they are the usual three
    # slices; padding is marked in unrolled coordinates.
    regions = 4 * axes[0][:, None] + axes[1][None]
    regions = to_windows(regions[None, None, ..., None], size, shift)
    regions = regions[0, 0, :, :, 0]
    return torch.where(regions[:, :, None] == regions[:, None, :], 0.0, -100.0)
