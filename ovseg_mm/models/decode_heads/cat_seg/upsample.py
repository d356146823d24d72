# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...utils import recomputed

# Channels of a group of the decoder's normalisation.
GROUP_CHANNELS = 16


@dataclass(frozen=True)
class DecoderOptions:
    """Options of the decoder of :class:`CATSegCostHead`.

    The first three arguments have one entry for each upsampling stage, from
    coarse to fine.

    Args:
        guidance_channels (Sequence[int]): Channels of the guidance maps.
        guidance_dims (Sequence[int]): Channels of the guidance maps after
            their projection.
        dims (Sequence[int]): Output channels of the stages.
        dropout_ratio (float): Probability that a channel is set to zero
            (:class:`torch.nn.Dropout2d`) before the last convolution.

    Raises:
        ValueError: If the first three arguments differ in length.
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
                'decoder must have the same length, with one entry for each '
                'upsampling stage'.format(*sizes)
            )

    @property
    def guidance(self) -> list[tuple[int, int]]:
        """Input and output channels of the projections of guidance maps."""
        return list(zip(self.guidance_channels, self.guidance_dims))


class UpsampleBlock(nn.Module):
    """Doubles the size of class maps, guided by image features.

    A transposed convolution upsamples the class maps. The upsampled maps are
    concatenated with the guidance and passed through two 3x3 convolutions. To
    save time, :meth:`prepare` splits the first 3x3 convolution into two
    convolutions, whose outputs are added:

    - The convolution on the guidance has the same output for all classes and
      is computed once.
    - The convolution on the upsampled class maps is merged with the transposed
      convolution, which halves the number of multiplications.

    Args:
        in_channels (int): Channels of the class maps.
        out_channels (int): Channels of the upsampled class maps.
        guidance_channels (int): Channels G of the guidance.
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
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.GroupNorm(groups, out_channels),
            nn.ReLU(inplace=True),
        )

    def prepare(self, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the arguments of :meth:`forward` that all classes share.

        Args:
            guidance (Tensor): Guidance map of B images, (B, G, 2h, 2w).

        Returns:
            tuple[Tensor, Tensor]: Weight of the transposed convolution after
            merging it with the first 3x3 convolution, (in_channels,
            out_channels, 4, 4); and the term to add to its output, from the
            guidance and the bias, (B, 1, out_channels, 2h, 2w).
        """
        first, bias = cast(nn.Conv2d, self.conv[0]), self.up.bias
        weight, guidance_weight = first.weight.split(
            [self.up.out_channels, guidance.shape[1]], dim=1
        )
        shared = F.conv2d(guidance, guidance_weight, padding=1)
        # The upsampled map has the bias at its pixels, but not in the padding
        # of the convolution.
        assert bias is not None, 'bias=True'
        bias = bias[None, :, None, None].expand(-1, -1, *shared.shape[2:])
        shared = shared + F.conv2d(bias, weight, padding=1)
        shared = shared.contiguous(memory_format=torch.channels_last)
        return F.conv2d(self.up.weight, weight, padding=2), shared[:, None]

    def forward(self, x: Tensor, weight: Tensor, shared: Tensor) -> Tensor:
        """Upsample class maps to twice their size.

        Args:
            x (Tensor): Maps of T classes, (B, T, in_channels, h, w). The
                method is fastest if the channels are contiguous in memory.
            weight (Tensor): Weight of the merged transposed convolution; the
                first result of :meth:`prepare`.
            shared (Tensor): Term that is added to the output of the merged
                convolution, the same for all classes; the second result of
                :meth:`prepare`.

        Returns:
            Tensor: Class maps, (B, T, out_channels, 2h, 2w).
        """
        shape = x.shape[:2]
        x = F.conv_transpose2d(x.flatten(0, 1), weight, stride=2, padding=1)
        x = x.unflatten(0, shape).add_(shared)
        return recomputed(self.conv[1:], x.flatten(0, 1)).unflatten(0, shape)
