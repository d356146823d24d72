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

    A row y = 1..height becomes u = 2 pi y / (height + 1e-6), a column x
    becomes 2 pi x / (width + 1e-6). Entry i of the channels of an axis is
    sin(u / t) for even and cos(u / t) for odd i, with
    t = temperature ** (2 floor(i / 2) / n) for n channels of the axis. Rows
    have the first half of the channels.

    Args:
        height (int): Rows of the grid.
        width (int): Columns of the grid.
        channels (int): Channels C, a multiple of 4.
        device (torch.device, optional): Device of the result.
        temperature (float): See above.

    Returns:
        Tensor: (C, height, width) float32.
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
