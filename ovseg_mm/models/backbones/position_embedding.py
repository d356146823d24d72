# SPDX-License-Identifier: Apache-2.0
"""Position embedding of CLIP's image tower for any grid of patches."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils import is_exporting


def resize_position(
    position: Tensor, grid: tuple[int, int], mode: str
) -> Tensor:
    """Resize the position embedding of a square grid to another grid.

    Args:
        position (Tensor): Position embedding of the class token and of n
            patches, of width D, (1 + n, D), class token first.
        grid (tuple[int, int]): Rows and columns of the new grid.
        mode (str): Mode of ``F.interpolate``, or ``'dino'``: bicubic with the
            scale factors ``(rows + 0.1) / side`` and ``(columns + 0.1) /
            side``, where ``side`` is the number of rows of the old grid.

    Returns:
        Tensor: Position embedding, (1 + rows * columns, D). The row of the
        class token is unchanged.
    """
    side = round((len(position) - 1) ** 0.5)
    is_any = any(isinstance(n, torch.SymInt) for n in grid)
    if not is_any and grid == (side, side):
        return position
    patches = position[1:].unflatten(0, (side, side)).permute(2, 0, 1)
    patches = patches[None].float()
    if is_any and is_exporting() and mode in ('bicubic', 'dino'):
        patches = _sampled(patches, grid, 0.1 if mode == 'dino' else 0.0)
    elif mode == 'dino':
        factors = tuple((int(n) + 0.1) / side for n in grid)
        patches = F.interpolate(patches, scale_factor=factors, mode='bicubic')
    else:
        patches = F.interpolate(patches, grid, mode=mode)
    patches = patches[0].flatten(1).t().to(position.dtype)
    return torch.cat([position[:1], patches])


def _sampled(patches: Tensor, grid: tuple[int, int], extra: float) -> Tensor:
    """Bicubic resize for an exported graph that takes images of any size.

    ``F.interpolate`` cannot be used, since exporters turn its scale factors
    into constants.

    Args:
        patches (Tensor): Position embedding of width D, (1, D, side, side).
        grid (tuple[int, int]): Rows and columns of the new grid.
        extra (float): Number added to rows and columns in the scale factors
            ``(rows + extra) / side`` and ``(columns + extra) / side``. Not
            added if the new grid has the size of the old grid.

    Returns:
        Tensor: Position embedding, (1, D, rows, columns).
    """
    side = patches.shape[2]
    rows, cols = (
        torch.arange(n, device=patches.device, dtype=patches.dtype)
        for n in grid
    )
    is_same = (rows[-1] == side - 1) & (cols[-1] == side - 1)
    more = torch.where(is_same, 0.0, extra)
    y, x = (2 * (n + 0.5) / (n[-1] + 1 + more) - 1 for n in (rows, cols))
    places = torch.stack([x.expand(*grid), y[:, None].expand(*grid)], dim=-1)
    return F.grid_sample(
        patches, places[None], 'bicubic', 'border', align_corners=False
    )
