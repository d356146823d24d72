# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

# Channels of a group of the decoder's normalisation.
GROUP_CHANNELS = 16


@dataclass(frozen=True)
class DecoderOptions:
    """Sizes of the decoder of :class:`CATSegCostHead`.

    Args:
        guidance_channels (Sequence[int]): Channels of the guidance of each
            stage, coarse to fine.
        guidance_dims (Sequence[int]): Channels of the projected guidance.
        dims (Sequence[int]): Channels of the stages' outputs.
        dropout_ratio (float): Share of the last channels that is set to zero
            in training.

    Raises:
        ValueError: If the three do not have the same length.
    """

    guidance_channels: Sequence[int] = (256, 128)
    guidance_dims: Sequence[int] = (32, 16)
    dims: Sequence[int] = (64, 32)
    dropout_ratio: float = 0.0

    def __post_init__(self) -> None:
        sizes = self.guidance_channels, self.guidance_dims, self.dims
        if len(set(map(len, sizes))) > 1:
            raise ValueError(
                'guidance_channels={}, guidance_dims={} and dims={} of the '
                'decoder must have the same length, its number of '
                'stages'.format(*sizes)
            )

    @property
    def guidance(self) -> list[tuple[int, int]]:
        """Input and output channels of each projection of the guidance."""
        return list(zip(self.guidance_channels, self.guidance_dims))


class UpsampleBlock(nn.Module):
    """Doubles the size of every class map, guided by image features.

    The first convolution takes the concatenation of map and guidance; since
    it is linear, the guidance's share is computed once for all classes.

    Args:
        in_channels (int): Channels of the maps.
        out_channels (int): Channels of the result.
        guidance_channels (int): Channels of the guidance.
    """

    def __init__(
        self, in_channels: int, out_channels: int, guidance_channels: int
    ) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(
            in_channels, in_channels - guidance_channels, 2, stride=2
        )
        groups = out_channels // GROUP_CHANNELS or 1
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.GroupNorm(groups, out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.GroupNorm(groups, out_channels),
            nn.ReLU(),
        )

    def project(self, guidance: Tensor) -> Tensor:
        """The guidance's share, (B, G, 2h, 2w) to (B, 1, out, 2h, 2w)."""
        first: Any = self.conv[0]
        weight = first.weight[:, -guidance.shape[1] :]
        return F.conv2d(guidance, weight, padding=1)[:, None]

    def forward(self, x: Tensor, projected: Tensor) -> Tensor:
        """Upsample.

        Args:
            x (Tensor): Class maps, (B, T, in, h, w).
            projected (Tensor): From :meth:`project`, (B, 1, out, 2h, 2w).

        Returns:
            Tensor: (B, T, out, 2h, 2w).
        """
        shape = x.shape[:2]
        x = self.up(x.flatten(0, 1))
        first: Any = self.conv[0]
        weight = first.weight[:, : x.shape[1]]
        x = F.conv2d(x, weight, padding=1).unflatten(0, shape) + projected
        return self.conv[1:](x.flatten(0, 1)).unflatten(0, shape)
