# SPDX-License-Identifier: Apache-2.0
"""Mask2Former's pixel decoder.

Letters: B images, C channels, M positions of all maps, h x w positions of one
map.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.structures import PixelFeatures
from ovseg_mm.utils.resize import resize

from ..layers import MultiScaleDeformAttention, sine_position
from ..utils import apply_layers

NUM_GROUPS = 32


class DeformEncoderLayer(nn.Module):
    """Post-norm layer: deformable self-attention and MLP with residuals.

    Args:
        embed_dims (int): Width C of the tokens.
        num_heads (int): Attention heads.
        num_levels (int): Number of maps.
        num_points (int): Points per map and head.
        feedforward_dims (int): Hidden width of the MLP.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        num_levels: int,
        num_points: int,
        feedforward_dims: int,
    ) -> None:
        super().__init__()
        self.attention = MultiScaleDeformAttention(
            embed_dims, num_heads, num_levels, num_points
        )
        self.norm1 = nn.LayerNorm(embed_dims)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dims, feedforward_dims),
            nn.ReLU(inplace=True),
            nn.Linear(feedforward_dims, embed_dims),
        )
        self.norm2 = nn.LayerNorm(embed_dims)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        reference: Tensor,
        sizes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Update the tokens of all maps.

        Args:
            x (Tensor): M tokens of all maps, (B, M, C).
            position (Tensor): Position embedding of the tokens, (M, C), added
                to the queries of the attention.
            reference (Tensor): Centre of each token in its map, x and y in
                [0, 1], (M, 2).
            sizes (Sequence[tuple[int, int]]): Height and width of each map.

        Returns:
            Tensor: Tokens, (B, M, C).
        """
        attended = self.attention(x + position, x, reference, sizes)
        x = self.norm1(x + attended)
        return self.norm2(x + apply_layers(self.mlp, x))


@MODELS.register_module()
class DeformPixelDecoder(BaseModule):
    """Pixel decoder of Mask2Former, with multi-scale deformable attention.

    `Masked-attention Mask Transformer for Universal Image Segmentation
    <https://arxiv.org/abs/2112.01527>`_. Attention layers update all maps of
    the backbone except the finest. The finest of the updated maps is then
    enlarged and added to the finest map of the backbone. MMCV's compiled
    operator is used on GPUs if MMCV has it, but is not needed.

    Args:
        in_channels (Sequence[int]): Channels of the backbone's maps, finest
            (stride 4) first.
        embed_dims (int): Channels C of the updated maps, a multiple of 32.
        mask_channels (int): Channels of the mask features.
        num_heads (int): Attention heads.
        num_points (int): Points per map and head.
        num_layers (int): Number of attention layers.
        feedforward_dims (int): Hidden width of the MLPs.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (128, 256, 512, 1024),
        embed_dims: int = 256,
        mask_channels: int = 256,
        num_heads: int = 8,
        num_points: int = 4,
        num_layers: int = 6,
        feedforward_dims: int = 1024,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.embed_dims = embed_dims
        finest, *coarser = in_channels
        # Plain modules, so that MMEngine does not initialise their parts.
        self.projections = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, embed_dims, 1),
                nn.GroupNorm(NUM_GROUPS, embed_dims),
            )
            for channels in reversed(coarser)
        )
        self.level_embed = nn.Parameter(torch.randn(len(coarser), embed_dims))
        self.layers = nn.ModuleList(
            DeformEncoderLayer(
                embed_dims,
                num_heads,
                len(coarser),
                num_points,
                feedforward_dims,
            )
            for _ in range(num_layers)
        )
        self.lateral = nn.Sequential(
            nn.Conv2d(finest, embed_dims, 1, bias=False),
            nn.GroupNorm(NUM_GROUPS, embed_dims),
        )
        self.output = nn.Sequential(
            nn.Conv2d(embed_dims, embed_dims, 3, padding=1, bias=False),
            nn.GroupNorm(NUM_GROUPS, embed_dims),
            nn.ReLU(inplace=True),
        )
        self.mask_features = nn.Conv2d(embed_dims, mask_channels, 1)
        projection: Any
        for projection in self.projections:
            nn.init.xavier_uniform_(projection[0].weight)
            nn.init.zeros_(projection[0].bias)
        conv: Any
        for conv in (self.lateral[0], self.output[0], self.mask_features):
            nn.init.kaiming_uniform_(conv.weight, a=1)
        assert self.mask_features.bias is not None, 'bias=True'
        nn.init.zeros_(self.mask_features.bias)

    def forward(self, feats: Sequence[Tensor]) -> PixelFeatures:
        """Compute mask features, and maps for the queries to attend to.

        Args:
            feats (Sequence[Tensor]): Maps of the backbone, finest first.

        Returns:
            PixelFeatures: Mask features at stride 4, and the updated maps with
            C channels, coarsest first.
        """
        finest, *coarser = feats
        maps = self._attend(
            [
                projection(x)
                for projection, x in zip(self.projections, reversed(coarser))
            ]
        )
        x = self.lateral(finest)
        x = self.output(x + resize(maps[-1], x.shape[2:]))
        return PixelFeatures(self.mask_features(x), maps)

    def _attend(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        sizes = [(x.shape[2], x.shape[3]) for x in maps]
        tokens = torch.cat([x.flatten(2) for x in maps], dim=2)
        x, device = tokens.transpose(1, 2), tokens.device
        positions = [
            sine_position(*size, self.embed_dims, device).flatten(1).t()
            + level
            for size, level in zip(sizes, self.level_embed)
        ]
        position = torch.cat(positions).to(x.dtype)
        reference = torch.cat([cell_centres(*size, device) for size in sizes])
        for layer in self.layers:
            x = layer(x, position, reference, sizes)
        lengths = [height * width for height, width in sizes]
        return tuple(
            part.transpose(1, 2).unflatten(2, size)
            for part, size in zip(x.split(lengths, dim=1), sizes)
        )


def cell_centres(
    height: int, width: int, device: torch.device | str | None = None
) -> Tensor:
    """Compute the centres of the cells of a grid over the unit square.

    Args:
        height (int): Rows of the grid.
        width (int): Columns of the grid.
        device (torch.device | str, optional): Device of the result.

    Returns:
        Tensor: x and y of each centre, in [0, 1], row by row, (height *
        width, 2).
    """
    rows, columns = (
        (torch.arange(size, device=device) + 0.5) / size
        for size in (height, width)
    )
    return torch.cartesian_prod(rows, columns).flip(1)
