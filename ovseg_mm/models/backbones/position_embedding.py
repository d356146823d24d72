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
        position (Tensor): Position embedding, (1 + n, D); the row of the class
            token, which stays as it is, comes first.
        grid (tuple[int, int]): Rows and columns of the result.
        mode (str): Mode of the interpolation, or ``'dino'``, see
            :class:`CLIPViT`.

    Returns:
        Tensor: (1 + rows * columns, D).
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
    """Bicubic resize for an exported graph, which takes images of any size.

    Exporters make constants of the scale factors of ``F.interpolate``.

    Args:
        patches (Tensor): Embedding of the patches, (1, D, side, side).
        grid (tuple[int, int]): Rows and columns of the result.
        extra (float): Added to both before they are divided by the side,
            unless the grid stays as it is.

    Returns:
        Tensor: (1, D, *grid).
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
