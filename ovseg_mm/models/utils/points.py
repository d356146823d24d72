# SPDX-License-Identifier: Apache-2.0
"""Random points at which masks are compared, instead of at all pixels.

Letters: N maps, P points, h, w height and width of a map. Coordinates are
(x, y), from 0 to 1 over the width and height. A function ``rand(shape)``
returns uniform random numbers in [0, 1); it is an argument, so that a test can
repeat a run.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

RandomFunction = Callable[[tuple[int, ...]], Tensor]


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Sample maps at points, with bilinear interpolation and zeros outside.

    Args:
        maps (Tensor): N maps, (N, h, w).
        points (Tensor): Coordinates (x, y) in [0, 1] of P points for each map,
            (N, P, 2), or (1, P, 2) for the same points in all maps.

    Returns:
        Tensor: Values of the maps at the points, (N, P).
    """
    grid = (2 * points - 1).expand(len(maps), -1, -1)[:, None].to(maps.dtype)
    values = F.grid_sample(
        maps[:, None], grid, mode='bilinear', align_corners=False
    )
    return values[:, 0, 0]


@torch.no_grad()
def uncertain_points(
    logits: Tensor,
    num_points: int,
    rand: RandomFunction,
    oversample_ratio: float = 3.0,
    importance_ratio: float = 0.75,
) -> Tensor:
    """Choose points where masks are uncertain, and some uniform points.

    Candidates are drawn uniformly. The candidates with the smallest absolute
    logits are chosen, and uniform points are added.

    Args:
        logits (Tensor): Mask logits, (N, h, w).
        num_points (int): Number P of points per mask.
        rand (Callable): Function ``rand(shape)`` that returns uniform numbers
            in [0, 1).
        oversample_ratio (float): Number of candidates per point.
        importance_ratio (float): Share of the points that are chosen from the
            candidates.

    Returns:
        Tensor: Coordinates (x, y) in [0, 1] of the points, (N, P, 2).
    """
    count = len(logits)
    candidates = rand((count, int(num_points * oversample_ratio), 2))
    certainty = sample_points(logits, candidates.to(logits.device)).abs()
    chosen = int(num_points * importance_ratio)
    index = certainty.topk(chosen, dim=1, largest=False).indices
    index = index[..., None].expand(-1, -1, 2)
    points = candidates.to(logits.device).gather(1, index)
    uniform = rand((count, num_points - chosen, 2)).to(logits.device)
    return torch.cat([points, uniform], dim=1)
