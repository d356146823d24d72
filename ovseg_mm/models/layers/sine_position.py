# SPDX-License-Identifier: Apache-2.0
import math

import torch
from torch import Tensor


def sine_position(
    height: int,
    width: int,
    channels: int,
    device: torch.device | str | None = None,
    temperature: float = 10000.0,
) -> Tensor:
    """Sine and cosine position embedding of a grid, as in DETR.

    The first half of the channels encodes the row, the second half the column.
    Rows y and columns x, counted from 1, become angles: ``u = 2 * pi * y /
    (height + 1e-6)`` and ``u = 2 * pi * x / (width + 1e-6)``. Channel i of the
    n channels of a half is ``sin(u / t)`` for even i and ``cos(u / t)`` for
    odd i, where ``t = temperature ** (2 * (i // 2) / n)``.

    Args:
        height (int): Rows of the grid.
        width (int): Columns of the grid.
        channels (int): Channels C, a multiple of 4.
        device (torch.device, optional): Device of the result.
        temperature (float): Base of the divisors t of the angles.

    Returns:
        Tensor: Position embedding, (C, height, width) float32.
    """
    half = channels // 2
    even = torch.arange(half, device=device) // 2 * 2
    periods = temperature ** (even.float() / half)

    def axis(size: int) -> Tensor:
        steps = torch.arange(1, size + 1, device=device, dtype=torch.float32)
        angles = steps * (2 * math.pi / (size + 1e-6))
        angles = angles[:, None] / periods
        pairs = angles[:, 0::2].sin(), angles[:, 1::2].cos()
        return torch.stack(pairs, dim=2).flatten(1).t()  # (half, size)

    rows = axis(height)[:, :, None].expand(-1, -1, width)
    columns = axis(width)[:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns])
