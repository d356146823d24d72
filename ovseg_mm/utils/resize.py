# SPDX-License-Identifier: Apache-2.0
import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize feature maps bilinearly.

    Args:
        x (Tensor): Feature maps, (B, C, H, W).
        size (tuple[int, int]): Height and width of the result.

    Returns:
        Tensor: Resized maps, (B, C, *size). If ``x`` has this size already,
        ``x`` itself.
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size, mode='bilinear', align_corners=False)
