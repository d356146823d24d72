# SPDX-License-Identifier: Apache-2.0
"""Spatial aggregation: two windowed attention blocks on every class map.

Letters: B images, T classes, h, w tokens, E width of the aggregator, G width
of the guidance, S side of an attention window, n = S * S its tokens.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...utils import is_exporting
from .chunks import apply_to_class_chunks

# Default width of the projected guidance of both aggregations.
GUIDANCE_DIMS = 128


class SpatialAggregation(nn.Module):
    """An unshifted and a shifted window block, guided by appearance.

    Args:
        embed_dims (int): E.
        guidance_dims (int): G.
        num_heads (int): Heads of the attention.
        window_size (int): S. Maps whose sides are no multiples of it are
            padded with zeros at the right and bottom, behind the norms.
        mlp_ratio (int): Hidden width of the MLPs in E.
        mask_padding (bool): Whether tokens do not attend to the padding, and
            a map that is not larger than a window is one window without
            padding and shift. False: windows are what MMSegmentation's
            ``ShiftWindowMSA`` makes of any map.
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
            x (Tensor): Class maps, (B, T, h, w, E).
            guidance (Tensor): Appearance guidance, (B, h, w, G).

        Returns:
            Tensor: (B, T, h, w, E).
        """
        guidance = self.guidance_norm(guidance)

        def blocks(part: Tensor) -> Tensor:
            for block in self.blocks:
                part = block(part, guidance)
            return part

        return apply_to_class_chunks(blocks, x)


class WindowBlock(nn.Module):
    """Pre-norm window attention and MLP; no relative position bias."""

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

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """(B, T, h, w, E) and (B, h, w, G) to (B, T, h, w, E)."""
        h, w = x.shape[2:4]
        if self.mask_padding and max(h, w) <= self.window_size:
            size, shift = (h, w), 0
        else:
            size, shift = (self.window_size,) * 2, self.shift
        windows = _to_windows(self.norm1(x), size, shift)
        guide = _to_windows(guidance[:, None], size, shift)
        attention_mask: Callable[..., Tensor | None] = _attention_mask
        if is_exporting():  # the cache would keep what tensors stand for
            attention_mask = _attention_mask.__wrapped__
        mask = attention_mask((h, w), size, shift, self.mask_padding)
        windows = self.attn(windows, guide, mask)
        x = x + _from_windows(windows, (h, w), size, shift)
        return x + self.mlp(self.norm2(x))


class GuidedAttention(nn.Module):
    """Attention whose queries and keys see tokens and guidance.

    The weights act on the concatenation of both; since they are linear, the
    guidance's share is computed once for all classes.
    """

    def __init__(
        self, embed_dims: int, guidance_dims: int, num_heads: int
    ) -> None:
        super().__init__()
        self.embed_dims = embed_dims
        self.num_heads = num_heads
        self.q = nn.Linear(embed_dims + guidance_dims, embed_dims)
        self.k = nn.Linear(embed_dims + guidance_dims, embed_dims)
        self.v = nn.Linear(embed_dims, embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(
        self, x: Tensor, guidance: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Attend within windows.

        Args:
            x (Tensor): (B, T, windows, n, E).
            guidance (Tensor): (B, 1, windows, n, G).
            mask (Tensor, optional): Added to the scores, (windows, n, n).

        Returns:
            Tensor: (B, T, windows, n, E).
        """
        q = guided_linear(self.q, x, guidance)
        k = guided_linear(self.k, x, guidance)
        # Windows stand beside heads, so that the mask of the windows is
        # broadcast over images and classes.
        q, k, v = (
            tokens.unflatten(-1, (self.num_heads, -1))
            .transpose(3, 4)
            .flatten(2, 3)
            .flatten(0, 1)
            for tokens in (q, k, self.v(x))
        )  # (B * T, windows * heads, n, E / heads)
        if mask is not None:
            mask = mask.to(q).repeat_interleave(self.num_heads, dim=0)[None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out = out.unflatten(0, x.shape[:2]).unflatten(2, (x.shape[2], -1))
        return self.proj(out.transpose(3, 4).flatten(4))


def guided_linear(layer: nn.Linear, x: Tensor, guidance: Tensor) -> Tensor:
    """``layer(cat([x, guidance]))`` for a guidance that is broadcast.

    Args:
        layer (nn.Linear): Takes the channels of ``x``, then those of
            ``guidance``.
        x (Tensor): (..., E).
        guidance (Tensor): (..., G), of size 1 where it is the same.

    Returns:
        Tensor: (..., channels of the layer's output).
    """
    if not isinstance(layer.weight, Tensor):  # of a quantised layer
        shape = (*x.shape[:-1], guidance.shape[-1])
        return layer(torch.cat([x, guidance.expand(shape)], dim=-1))
    weight, guidance_weight = layer.weight.split(
        [x.shape[-1], guidance.shape[-1]], dim=1
    )
    shared = F.linear(guidance, guidance_weight, layer.bias)
    return F.linear(x, weight) + shared


def _to_windows(x: Tensor, size: tuple[int, int], shift: int) -> Tensor:
    """(B, T, h, w, E) to (B, T, windows, n, E), zeros where it is padded."""
    h, w = x.shape[2:4]
    bottom, right = -h % size[0], -w % size[1]
    if bottom or right:
        x = F.pad(x, (0, 0, 0, right, 0, bottom))
    if shift:
        x = x.roll((-shift, -shift), dims=(2, 3))
    x = x.unflatten(2, (-1, size[0])).unflatten(4, (-1, size[1]))
    return x.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def _from_windows(
    x: Tensor, shape: tuple[int, int], size: tuple[int, int], shift: int
) -> Tensor:
    """Inverse of :func:`_to_windows` for a map of ``shape`` (h, w)."""
    rows, cols = -(-shape[0] // size[0]), -(-shape[1] // size[1])
    x = x.unflatten(3, size).unflatten(2, (rows, cols))
    x = x.transpose(3, 4).flatten(4, 5).flatten(2, 3)
    if shift:
        x = x.roll((shift, shift), dims=(2, 3))
    return x[:, :, : shape[0], : shape[1]]


@lru_cache(maxsize=64)
def _attention_mask(
    shape: tuple[int, int],
    size: tuple[int, int],
    shift: int,
    mask_padding: bool = True,
) -> Tensor | None:
    """What is added to attention scores, (windows, n, n), or None.

    -100 stands between tokens that the roll brought together from different
    regions of the map, and, if it is masked, between tokens and padding.
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
    # In rolled coordinates the regions are the usual three slices; padding
    # is marked where it lies in unrolled ones.
    regions = 4 * axes[0][:, None] + axes[1][None]
    regions = _to_windows(regions[None, None, ..., None], size, shift)
    regions = regions[0, 0, :, :, 0]
    return torch.where(regions[:, :, None] == regions[:, None, :], 0.0, -100.0)
