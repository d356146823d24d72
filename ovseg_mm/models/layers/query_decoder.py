# SPDX-License-Identifier: Apache-2.0
"""Transformer decoders that turn image features into query states.

Letters: B images, Q queries, C width, D supervised states a query, h, w
positions of a map.

A decoder is called as ``decoder(maps, masks_of)``. ``maps`` are the feature
maps that a pixel decoder gives for it, coarsest first. ``masks_of`` gives the
mask logits of states at the size of a map, for decoders that attend inside
the masks that they predict:
``masks_of(states (B, Q, C), size) -> (B, Q, *size)``. The result are the
normalised states (D, B, Q, C) that get embeddings and masks, the last one
being the final one.
"""

from collections.abc import Callable, Sequence

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from .sine_position import sine_position

MasksOf = Callable[[Tensor, tuple[int, int]], Tensor]


class DETRDecoderLayer(nn.Module):
    """Self-attention, cross-attention and MLP, each normalised afterwards.

    Args:
        embed_dims (int): C.
        num_heads (int): Attention heads.
        feedforward_dims (int): Hidden width of the MLP.
        dropout (float): Dropout of attention weights, hidden layer and
            residual branches.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_dims: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.self_attn, self.cross_attn = (
            nn.MultiheadAttention(
                embed_dims, num_heads, dropout, batch_first=True
            )
            for _ in range(2)
        )
        self.mlp = nn.Sequential(
            nn.Linear(embed_dims, feedforward_dims),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(feedforward_dims, embed_dims),
        )
        self.norm1, self.norm2, self.norm3 = (
            nn.LayerNorm(embed_dims) for _ in range(3)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        query_position: Tensor,
        memory: Tensor,
        keys: Tensor,
    ) -> Tensor:
        """Update the queries.

        Args:
            x (Tensor): States, (B, Q, C).
            query_position (Tensor): Added to queries, (B, Q, C).
            memory (Tensor): Values, (B, h * w, C).
            keys (Tensor): Values with their position, (B, h * w, C).

        Returns:
            Tensor: (B, Q, C).
        """
        q = x + query_position
        attended = self.self_attn(q, q, x, need_weights=False)[0]
        x = self.norm1(x + self.dropout(attended))
        q = x + query_position
        attended = self.cross_attn(q, keys, memory, need_weights=False)[0]
        x = self.norm2(x + self.dropout(attended))
        return self.norm3(x + self.dropout(self.mlp(x)))


@MODELS.register_module()
class MaskFormerDecoder(BaseModule):
    """Decoder of MaskFormer: queries attend to one coarse map.

    `Per-Pixel Classification is Not All You Need for Semantic Segmentation
    <https://arxiv.org/abs/2107.06278>`_. See the module's docstring for how
    it is called. The norm after the last layer is applied to a copy after
    every layer; the layers themselves pass on states without it.

    Args:
        in_channels (int): Channels of the map.
        num_queries (int): Q.
        embed_dims (int): C, a multiple of 4.
        num_heads (int): Attention heads.
        num_layers (int): Layers; D equals it.
        feedforward_dims (int): Hidden width of the layers' MLP.
        dropout (float): Dropout in training.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    def __init__(
        self,
        in_channels: int = 2048,
        num_queries: int = 100,
        embed_dims: int = 256,
        num_heads: int = 8,
        num_layers: int = 6,
        feedforward_dims: int = 2048,
        dropout: float = 0.1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.embed_dims = embed_dims
        self.input_proj = nn.Conv2d(in_channels, embed_dims, 1)
        self.layers = nn.ModuleList(
            DETRDecoderLayer(embed_dims, num_heads, feedforward_dims, dropout)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dims)
        for parameter in self.layers.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.kaiming_uniform_(self.input_proj.weight, a=1)
        nn.init.zeros_(self.input_proj.bias)
        self.query_embed = nn.Embedding(num_queries, embed_dims)

    def forward(self, maps: Sequence[Tensor], masks_of: MasksOf) -> Tensor:
        """Run the decoder.

        Args:
            maps (Sequence[Tensor]): One map, (B, C_in, h, w).
            masks_of (Callable): Not needed here.

        Returns:
            Tensor: Normalised states of all layers, (D, B, Q, C); in
            evaluation of the last one alone.
        """
        (x,) = maps
        memory = self.input_proj(x).flatten(2).transpose(1, 2)
        position = sine_position(*x.shape[2:], self.embed_dims, x.device)
        keys = memory + position.flatten(1).t().to(memory.dtype)
        query_position = self.query_embed.weight.expand(len(x), -1, -1)
        states, x = [], torch.zeros_like(query_position)
        for index, layer in enumerate(self.layers, 1):
            x = layer(x, query_position, memory, keys)
            if self.training or index == len(self.layers):
                states.append(self.norm(x))
        return torch.stack(states)
