# SPDX-License-Identifier: Apache-2.0
"""Last blocks without training, one window, patch and head after the other.

Written in float64 with loops, for comparison.
"""

import math

import torch
from torch import Tensor

SCALE = 3.0


def double(block):
    """The block's own weights in float64."""
    return {k: v.double() for k, v in block.state_dict().items()}


def layer_norm(x: Tensor, weights: dict, name: str) -> Tensor:
    rows = []
    for row in x:
        centred = row - row.mean()
        rows.append(centred / (centred.square().mean() + 1e-5).sqrt())
    norm = torch.stack(rows)
    return norm * weights[f'{name}.weight'] + weights[f'{name}.bias']


def heads(x: Tensor, weights: dict, name: str, count: int) -> list[Tensor]:
    """Each head's (N, d)."""
    biases = dict(zip('qkv', weights['attn.in_proj_bias'].chunk(3)))
    y = x @ weights[f'attn.{name}_proj_weight'].t() + biases[name]
    return list(y.chunk(count, dim=1))


def softmax_rows(x: Tensor) -> Tensor:
    rows = []
    for row in x.tolist():
        top = max(row)
        exps = [math.exp(value - top) for value in row]
        rows.append([value / sum(exps) for value in exps])
    return torch.tensor(rows, dtype=torch.float64)


def attention(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    logits = torch.zeros(len(a), len(b), dtype=torch.float64)
    for i, query in enumerate(a):
        for j, key in enumerate(b):
            logits[i, j] = float(query @ key) / math.sqrt(len(query))
    return softmax_rows(logits if bias is None else logits + bias)


def project(mixed: list[Tensor], weights: dict) -> Tensor:
    x = torch.cat(mixed, dim=1)
    return (
        x @ weights['attn.out_proj.weight'].t() + weights['attn.out_proj.bias']
    )


def mlp(x: Tensor, weights: dict) -> Tensor:
    y = layer_norm(x, weights, 'ln_2')
    y = y @ weights['mlp.c_fc.weight'].t() + weights['mlp.c_fc.bias']
    y = y * torch.sigmoid(1.702 * y)
    return y @ weights['mlp.c_proj.weight'].t() + weights['mlp.c_proj.bias']


def gaussian(grid: tuple[int, int], std: float) -> Tensor:
    places = [(r, c) for r in range(grid[0]) for c in range(grid[1])]
    bias = torch.zeros(len(places) + 1, len(places) + 1).double()
    for i, (r, c) in enumerate(places):
        for j, (s, d) in enumerate(places):
            squared = (r - s) ** 2 + (c - d) ** 2
            bias[i + 1, j + 1] = math.exp(-squared / (2 * std**2))
    return bias


def simple(block, x: Tensor, maps, keep: bool) -> Tensor:
    """``maps(q, k)`` gives a head's attention."""
    weights, count = double(block), block.attn.num_heads
    y = layer_norm(x, weights, 'ln_1')
    q, k, v = (heads(y, weights, name, count) for name in 'qkv')
    out = project([maps(*qk) @ w for *qk, w in zip(q, k, v)], weights)
    if not keep:
        return out
    return x + out + mlp(x + out, weights)


def local_outlier_factor(x: Tensor, neighbours: int = 30) -> list[float]:
    reach, near = [], []
    for i, row in enumerate(x):
        others = sorted(
            (float((row - other).square().sum()), j)
            for j, other in enumerate(x)
            if j != i
        )[:neighbours]
        reach.append(others[-1][0])
        near.append([j for _, j in others])
    return [
        sum(reach[i] / reach[j] for j in near[i]) / neighbours
        for i in range(len(x))
    ]


def above_quantile(values: list[float], share: float = 0.95) -> set[int]:
    ranked, place = sorted(values), share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    limit = ranked[low] + (place - low) * (ranked[high] - ranked[low])
    return {i for i, value in enumerate(values) if value > limit}


def top(values: list[float], candidates: set[int], count: int) -> set[int]:
    ranked = sorted(candidates, key=lambda i: (-values[i], i))
    return set(ranked[:count])


def class_attention(block, x: Tensor) -> tuple[list[float], list[float]]:
    """Mean over heads: class token to patches, patches to themselves."""
    weights, count = double(block), block.attn.num_heads
    y = layer_norm(x, weights, 'ln_1')
    mean = (
        sum(
            attention(q, k)
            for q, k in zip(
                heads(y, weights, 'q', count), heads(y, weights, 'k', count)
            )
        )
        / count
    )
    return mean[0, 1:].tolist(), mean.diagonal()[1:].tolist()


def repaired(x: Tensor, outliers: set[int], grid: tuple[int, int]) -> Tensor:
    out = x.clone()
    for i in outliers:
        row, col = divmod(i, grid[1])
        near = [
            r * grid[1] + c
            for r in range(max(row - 1, 0), min(row + 2, grid[0]))
            for c in range(max(col - 1, 0), min(col + 2, grid[1]))
        ]
        near = [j for j in near if j != i and j not in outliers]
        if near:
            out[i] = sum(x[j] for j in near) / len(near)
    return out


def cosines(x: Tensor) -> Tensor:
    out = torch.zeros(len(x), len(x), dtype=torch.float64)
    for i, a in enumerate(x):
        for j, b in enumerate(x):
            out[i, j] = float(a @ b) / float(a.norm() * b.norm())
    return out


def gathered(weights: Tensor, x: Tensor) -> Tensor:
    return torch.stack(
        [
            sum(w * row for w, row in zip(line, x)) / (line.sum() + 1e-6)
            for line in weights
        ]
    )


def calibrated(
    blocks, tokens: dict, grid, plan, outliers: set[int], sfp: bool
) -> Tensor:
    """SC-CLIP or SFP of one window; patches alone."""
    weights, count = double(blocks[-1]), blocks[-1].attn.num_heads
    last = tokens[len(blocks) - 2]
    similarity = cosines(repaired(tokens[plan.mid][1:], outliers, grid))
    kept = similarity.where(similarity >= 0.4, 0.0)
    early = cosines(tokens[plan.early][1:])
    early = early.where(early >= 0.4, 0.0)
    base = kept if sfp else similarity
    logits = SCALE * (base - base.mean())
    extra = softmax_rows(logits.where(logits >= 0, -math.inf))

    def attended(x: Tensor, again: bool) -> Tensor:
        y = layer_norm(x, weights, 'ln_1')
        q, k, v = (heads(y, weights, name, count) for name in 'qkv')
        mixed = []
        for a, b, value in zip(q, k, v):
            if not sfp:
                maps = (extra + attention(b, b)) / 2
            elif again:
                maps = extra
            else:
                maps = (extra + attention(a, a) + attention(b, b)) / 3
            mixed.append(maps @ value)
        return project(mixed, weights)

    x = gathered(kept, repaired(last[1:], outliers, grid))
    x = gathered(early, attended(x, False) + plan.cls_weight * last[0])
    summed = sum(tokens[i] for i in range(plan.first, plan.end))
    z = attended(summed[1:], True) + plan.cls_weight * summed[0]
    return x + gathered(early, z)
