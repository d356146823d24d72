# SPDX-License-Identifier: Apache-2.0
"""Attention to a few points of several feature maps.

Letters: B images, M tokens of all maps, Q queries, G heads, L maps (levels),
K points per map and head, C width.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils import apply_linear, chunk_size, runs_as_written

Sizes = Sequence[tuple[int, int]]


class MultiScaleDeformAttention(nn.Module):
    """Deformable attention of queries to a few points of several feature maps.

    `Deformable DETR <https://arxiv.org/abs/2010.04159>`_. Each head predicts,
    for each query, offsets and weights of K points in each of L maps. The
    result is the weighted sum of the values at these points, without a
    residual.

    Args:
        embed_dims (int): Width C of queries and values, divisible by
            ``num_heads``.
        num_heads (int): Number G of heads.
        num_levels (int): Number L of maps.
        num_points (int): Number K of points per map and head.
    """

    def __init__(
        self,
        embed_dims: int = 256,
        num_heads: int = 8,
        num_levels: int = 3,
        num_points: int = 4,
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(
                f'embed_dims={embed_dims} is not divisible by '
                f'num_heads={num_heads}; change num_heads'
            )
        self.shape = num_heads, num_levels, num_points
        samples = math.prod(self.shape)
        self.sampling_offsets = nn.Linear(embed_dims, 2 * samples)
        self.attention_weights = nn.Linear(embed_dims, samples)
        self.value_proj = nn.Linear(embed_dims, embed_dims)
        self.output_proj = nn.Linear(embed_dims, embed_dims)
        self._reset()

    def forward(
        self, query: Tensor, value: Tensor, reference: Tensor, sizes: Sizes
    ) -> Tensor:
        """Attend to points of the maps.

        Args:
            query (Tensor): Q queries of width C, (B, Q, C).
            value (Tensor): M tokens of all maps, (B, M, C). Maps are
                concatenated, and the tokens of a map are ordered row by row.
            reference (Tensor): Reference point of each query, x and y in [0,
                1], (Q, 2). The predicted offsets are added to it.
            sizes (Sequence[tuple[int, int]]): Height and width of each map.

        Returns:
            Tensor: Result for each query, (B, Q, C).
        """
        num_heads, num_levels, num_points = self.shape
        values = apply_linear(self.value_proj, value).unflatten(
            2, (num_heads, -1)
        )
        # In full precision: half precision cannot locate points exactly.
        offsets = apply_linear(self.sampling_offsets, query).float()
        offsets = offsets.unflatten(2, (*self.shape, 2))
        # Offsets are in pixels of their map.
        extent = offsets.new_tensor([size[::-1] for size in sizes])
        points = reference[:, None, None, None] + offsets / extent[:, None]
        weights = apply_linear(self.attention_weights, query)
        weights = weights.unflatten(2, (num_heads, -1)).softmax(dim=3)
        weights = weights.unflatten(3, (num_levels, num_points))
        sample = sample_levels
        if values.is_cuda:
            sample = _compiled_operator() or sample_levels
        elif runs_as_written():
            sample = sample_rows
        sampled = sample(values, points, weights, sizes)
        return apply_linear(self.output_proj, sampled)

    def _reset(self) -> None:
        num_heads, num_levels, num_points = self.shape
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        nn.init.zeros_(self.sampling_offsets.weight)
        # Each head starts in another direction, each point farther away.
        angles = torch.arange(num_heads) * (2 * math.pi / num_heads)
        rays = torch.stack([angles.cos(), angles.sin()], dim=1)
        rays = rays / rays.abs().amax(dim=1, keepdim=True)
        steps = torch.arange(1, num_points + 1)[:, None]
        offsets = rays[:, None, None] * steps.expand(num_levels, -1, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.flatten())


def sample_levels(
    values: Tensor, points: Tensor, weights: Tensor, sizes: Sizes
) -> Tensor:
    """Compute weighted sums of bilinear samples of several maps.

    Values outside a map are 0.

    Args:
        values (Tensor): Values of M tokens and G heads, (B, M, G, C / G).
        points (Tensor): x and y of K points of each of Q queries in each of L
            maps, (B, Q, G, L, K, 2); [0, 1] covers the map.
        weights (Tensor): Weights of the points, (B, Q, G, L, K).
        sizes (Sequence[tuple[int, int]]): Height and width of each map.

    Returns:
        Tensor: Weighted sums of all heads, (B, Q, C).
    """
    batch, _, num_heads, _ = values.shape
    lengths = [height * width for height, width in sizes]
    grids = (2 * points - 1).transpose(1, 2).flatten(0, 1)
    weights = weights.transpose(1, 2).flatten(0, 1)  # (B * G, Q, L, K)
    result: Any = 0  # a tensor from the first map on
    for level, part in enumerate(values.split(lengths, dim=1)):
        part = part.permute(0, 2, 3, 1).flatten(0, 1)  # (B * G, C / G, h * w)
        sampled = F.grid_sample(
            part.unflatten(2, sizes[level]).float(),
            grids[:, :, level].float(),
            mode='bilinear',
            padding_mode='zeros',
            align_corners=False,
        )  # (B * G, C / G, Q, K)
        result = result + (sampled * weights[:, None, :, level]).sum(dim=3)
    result = result.unflatten(0, (batch, num_heads))
    return result.permute(0, 3, 1, 2).flatten(2).to(values.dtype)


def sample_rows(
    values: Tensor, points: Tensor, weights: Tensor, sizes: Sizes
) -> Tensor:
    """Compute :func:`sample_levels` several times faster on CPUs.

    Gradients must be disabled.

    A sample is a weighted sum of the values of four neighbouring cells. For
    each query and head, the cells around all points form one bag of
    ``F.embedding_bag``, which computes the weighted sum of their values.

    Args:
        values (Tensor): Values of M tokens and G heads, (B, M, G, C / G).
        points (Tensor): x and y of K points of each of Q queries in each of L
            maps, (B, Q, G, L, K, 2); [0, 1] covers the map.
        weights (Tensor): Weights of the points, (B, Q, G, L, K).
        sizes (Sequence[tuple[int, int]]): Height and width of each map.

    Returns:
        Tensor: Weighted sums of all heads, (B, Q, C).
    """
    batch, _, num_heads, width = values.shape
    tables = _with_borders(values.float(), sizes)
    out = tables.new_empty(batch, points.shape[1], num_heads * width)
    step = chunk_size(points, 1)
    for image, table in enumerate(tables):
        for start in range(0, points.shape[1], step):
            part = slice(start, start + step)
            rows, shares = _corners(
                points[image, part].float(),
                weights[image, part].float(),
                sizes,
            )
            out[image, part] = (
                F.embedding_bag(
                    rows.flatten(0, 1).flatten(1),
                    table,
                    per_sample_weights=shares.flatten(0, 1).flatten(1),
                    mode='sum',
                )
                .unflatten(0, (-1, num_heads))
                .flatten(1)
            )
    return out.to(values.dtype)


def _with_borders(values: Tensor, sizes: Sizes) -> Tensor:
    """Join the values of all maps, each map with a border of zeros.

    Args:
        values (Tensor): Values of M tokens and G heads, (B, M, G, C / G).
        sizes (Sequence[tuple[int, int]]): Height and width of each map.

    Returns:
        Tensor: Values of R cells and G heads, one row for each cell and head,
        (B, R * G, C / G). R includes the border cells: one to the left and
        above each map, two to the right and below.
    """
    lengths = [height * width for height, width in sizes]
    maps = [
        F.pad(part.unflatten(1, size), (0, 0, 0, 0, 1, 2, 1, 2)).flatten(1, 2)
        for part, size in zip(values.split(lengths, dim=1), sizes)
    ]
    return torch.cat(maps, dim=1).flatten(1, 2)


def _corners(
    points: Tensor, weights: Tensor, sizes: Sizes
) -> tuple[Tensor, Tensor]:
    """Find the four cells around each point, and weights of their values.

    Args:
        points (Tensor): x and y of the points of one image, (Q, G, L, K, 2),
            for Q queries, G heads, L maps and K points in each map; [0, 1]
            covers the map.
        weights (Tensor): Weights of the points, (Q, G, L, K).
        sizes (Sequence[tuple[int, int]]): Height and width of each map.

    Returns:
        tuple[Tensor, Tensor]: Row index of each cell in the result of
        :func:`_with_borders`, (Q, G, 4, L, K) int32; and weight of each cell,
        (Q, G, 4, L, K), which is its bilinear weight times the weight of the
        point.
    """
    num_heads, device = points.shape[1], points.device
    extent = points.new_tensor([size[::-1] for size in sizes])[:, None]
    # Points far outside get the border, whose values are zero.
    points = (points * extent).sub_(0.5).fmax(points.new_tensor(-1.0))
    points = torch.fmin(points, extent)
    cells = points.floor()
    x, y = points.sub_(cells).unbind(dim=-1)
    columns, lines = cells.int().unbind(dim=-1)
    widths = torch.tensor(
        [[width + 3] for _, width in sizes], dtype=torch.int32, device=device
    )
    counts = [(height + 3) * (width + 3) for height, width in sizes]
    starts = torch.tensor([0, *accumulate(counts[:-1])], device=device).int()
    heads = torch.arange(num_heads, device=device).int()[:, None, None]
    first = (starts[:, None] + widths + 1) * num_heads + heads
    shape = (len(x), num_heads, 4, *x.shape[2:])
    rows = widths.new_empty(shape)
    shares = weights.new_empty(shape)
    above_left, above_right, below_left, below_right = rows.unbind(dim=2)
    torch.add((lines * widths + columns) * num_heads, first, out=above_left)
    torch.add(above_left, num_heads, out=above_right)
    torch.add(above_left, widths * num_heads, out=below_left)
    torch.add(below_left, num_heads, out=below_right)
    above_left, above_right, below_left, below_right = shares.unbind(dim=2)
    below = weights * y
    above = weights - below
    torch.mul(above, x, out=above_right)
    torch.sub(above, above_right, out=above_left)
    torch.mul(below, x, out=below_right)
    torch.sub(below, below_right, out=below_left)
    return rows, shares


@lru_cache(maxsize=1)
def _compiled_operator() -> Callable[..., Tensor] | None:
    """Wrap MMCV's compiled operator as a function like ``sample_levels``.

    The result is None if MMCV is installed without compiled operators.
    """
    try:
        from mmcv.ops.multi_scale_deform_attn import (
            MultiScaleDeformableAttnFunction as Operator,
        )
    except (ImportError, OSError):
        return None

    def sample(
        values: Tensor, points: Tensor, weights: Tensor, sizes: Sizes
    ) -> Tensor:
        shapes = torch.tensor(sizes, device=values.device)
        ends = shapes.prod(dim=1).cumsum(dim=0)
        starts = torch.cat([ends.new_zeros(1), ends[:-1]])
        # The operator has no bfloat16, and needs equal parts of the batch.
        result = Operator.apply(
            values.float().contiguous(),
            shapes,
            starts,
            points.float().contiguous(),
            weights.float().contiguous(),
            len(values),
        )
        return result.to(values.dtype)

    return sample
