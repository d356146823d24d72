# SPDX-License-Identifier: Apache-2.0
"""Points at which masks are compared, instead of all pixels.

Letters: N maps, P points, h, w positions of a map. Coordinates are (x, y) in
[0, 1] of width and height. ``rand(shape)`` gives uniform numbers in [0, 1);
it is an argument so that a run can be repeated.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

RandomFunction = Callable[[tuple[int, ...]], Tensor]


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Values of maps at points, bilinear, zero outside.

    Args:
        maps (Tensor): The maps, (N, h, w).
        points (Tensor): x and y of the points, (N, P, 2), or (1, P, 2) if
            all maps have the same points.

    Returns:
        Tensor: (N, P).
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

    Args:
        logits (Tensor): Mask logits, (N, h, w).
        num_points (int): P.
        rand (Callable): See the module's docstring; the candidates are drawn
            first, then the uniform points.
        oversample_ratio (float): Candidates for each point.
        importance_ratio (float): Share of points chosen for their smallest
            absolute logit.

    Returns:
        Tensor: (N, P, 2).
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
