# SPDX-License-Identifier: Apache-2.0
"""Transformer decoders that turn image features into query states.

Letters: B images, Q queries, C width, D decoder outputs with a loss, h x w
positions of a map.

A decoder is called as ``decoder(maps, masks_of)``:

- ``maps`` are the feature maps of a pixel decoder, coarsest first.
- ``masks_of(states, size)`` computes mask logits (B, Q, *size) from query
  states (B, Q, C). It is needed by decoders whose queries attend only inside
  the masks that they predict.
- The result is D normalised states of each query, (D, B, Q, C). The last one
  is the final state.
"""

from collections.abc import Callable, Sequence

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from .sine_position import sine_position

MasksOf = Callable[[Tensor, tuple[int, int]], Tensor]


class DETRDecoderLayer(nn.Module):
    """Post-norm decoder layer: self-attention, cross-attention and MLP.

    Args:
        embed_dims (int): Width C of the query states.
        num_heads (int): Attention heads.
        feedforward_dims (int): Hidden width of the MLP.
        dropout (float): Dropout probability of attention weights, hidden
            channels and residual branches.
        cross_first (bool): Whether cross-attention comes before
            self-attention.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_dims: int,
        dropout: float = 0.0,
        cross_first: bool = False,
    ) -> None:
        super().__init__()
        self.cross_first = cross_first
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
        forbidden: Tensor | None = None,
    ) -> Tensor:
        """Update the query states.

        Args:
            x (Tensor): States of Q queries, (B, Q, C).
            query_position (Tensor): Position embedding of the queries, (B, Q,
                C), added to states before each attention.
            memory (Tensor): Values of the cross-attention, (B, h * w, C).
            keys (Tensor): Keys of the cross-attention, (B, h * w, C): the
                values plus a position embedding.
            forbidden (Tensor, optional): True at positions that a query does
                not attend to, (B, Q, h * w) bool. None: queries attend
                everywhere.

        Returns:
            Tensor: Query states, (B, Q, C).
        """
        if forbidden is not None:
            heads = self.cross_attn.num_heads
            forbidden = forbidden.repeat_interleave(heads, dim=0)

        def among_queries(x: Tensor) -> Tensor:
            q = x + query_position
            return self.self_attn(q, q, x, need_weights=False)[0]

        def to_image(x: Tensor) -> Tensor:
            return self.cross_attn(
                x + query_position,
                keys,
                memory,
                need_weights=False,
                attn_mask=forbidden,
            )[0]

        steps = [among_queries, to_image]
        if self.cross_first:
            steps.reverse()
        for attend, norm in zip(steps, (self.norm1, self.norm2)):
            x = norm(x + self.dropout(attend(x)))
        return self.norm3(x + self.dropout(self.mlp(x)))


@MODELS.register_module()
class MaskFormerDecoder(BaseModule):
    """Decoder of MaskFormer: queries attend to one coarse map.

    `Per-Pixel Classification is Not All You Need for Semantic Segmentation
    <https://arxiv.org/abs/2107.06278>`_. An additional LayerNorm turns the
    output of a layer into the result of this layer. The next layer gets the
    output before this LayerNorm.

    Args:
        in_channels (int): Channels of the map.
        num_queries (int): Number Q of queries.
        embed_dims (int): Width C of the query states, a multiple of 4.
        num_heads (int): Attention heads.
        num_layers (int): Number of layers. In training, the output of each
            layer has a loss.
        feedforward_dims (int): Hidden width of the MLPs.
        dropout (float): Dropout probability.
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
        assert self.input_proj.bias is not None  # Conv2d has one by default
        nn.init.zeros_(self.input_proj.bias)
        self.query_embed = nn.Embedding(num_queries, embed_dims)

    def forward(self, maps: Sequence[Tensor], masks_of: MasksOf) -> Tensor:
        """Compute query states from one feature map.

        Args:
            maps (Sequence[Tensor]): List of one map, (B, in_channels, h, w).
            masks_of (Callable): Not used.

        Returns:
            Tensor: Normalised query states, (D, B, Q, C): in training, after
            each of the D layers; in evaluation, only after the last layer
            (D = 1).
        """
        (x,) = maps
        height, width = x.shape[2:]
        memory = self.input_proj(x).flatten(2).transpose(1, 2)
        position = sine_position(height, width, self.embed_dims, x.device)
        keys = memory + position.flatten(1).t().to(memory.dtype)
        query_position = self.query_embed.weight.expand(len(x), -1, -1)
        states, x = [], torch.zeros_like(query_position)
        for index, layer in enumerate(self.layers, 1):
            x = layer(x, query_position, memory, keys)
            if self.training or index == len(self.layers):
                states.append(self.norm(x))
        return torch.stack(states)


@MODELS.register_module()
class MaskedAttentionDecoder(BaseModule):
    """Decoder of Mask2Former: queries attend inside their own masks.

    `Masked-attention Mask Transformer for Universal Image Segmentation
    <https://arxiv.org/abs/2112.01527>`_. Layer i attends to map ``i %
    num_levels``, at the positions inside the mask that the query predicts
    before the layer. A query with an empty mask attends everywhere.

    In training, there is a loss for the state of each query before the first
    layer and after each layer.

    Args:
        num_queries (int): Number Q of queries.
        embed_dims (int): Width C of the query states and channels of the maps,
            a multiple of 4.
        num_heads (int): Attention heads.
        num_layers (int): Number of layers.
        num_levels (int): Number of maps.
        feedforward_dims (int): Hidden width of the MLPs.
        dropout (float): Dropout probability.
        skip_penultimate (bool): Whether the state before the last layer is
            removed from the result and so has no loss, as in SCAN. In
            training, the result then has ``num_layers`` states of each query.
            False: it has ``num_layers + 1`` states.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    def __init__(
        self,
        num_queries: int = 100,
        embed_dims: int = 256,
        num_heads: int = 8,
        num_layers: int = 9,
        num_levels: int = 3,
        feedforward_dims: int = 2048,
        dropout: float = 0.0,
        skip_penultimate: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.embed_dims = embed_dims
        self.skip_penultimate = skip_penultimate
        self.layers = nn.ModuleList(
            DETRDecoderLayer(
                embed_dims,
                num_heads,
                feedforward_dims,
                dropout,
                cross_first=True,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dims)
        for parameter in self.layers.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        self.query_feat = nn.Embedding(num_queries, embed_dims)
        self.query_embed = nn.Embedding(num_queries, embed_dims)
        self.level_embed = nn.Embedding(num_levels, embed_dims)

    def forward(self, maps: Sequence[Tensor], masks_of: MasksOf) -> Tensor:
        """Compute query states from several feature maps.

        Args:
            maps (Sequence[Tensor]): Feature maps, (B, C, h, w) each, coarsest
                first.
            masks_of (Callable): Function that returns the mask logits (B, Q,
                h, w) of query states (B, Q, C), for ``size=(h, w)``.

        Returns:
            Tensor: D normalised states of each query, (D, B, Q, C). In
            training, these are the states before the first layer and after
            each layer; the second-to-last state is missing if
            ``skip_penultimate`` is set. In evaluation, there is only the state
            after the last layer.
        """
        batch = len(maps[0])
        memories, keys = zip(*map(self._memory, maps, self.level_embed.weight))
        query_position = self.query_embed.weight.expand(batch, -1, -1)
        x = self.query_feat.weight.expand(batch, -1, -1)
        states = [self.norm(x)]
        for index, layer in enumerate(self.layers):
            level = index % len(maps)
            height, width = maps[level].shape[2:]
            x = layer(
                x,
                query_position,
                memories[level],
                keys[level],
                self._forbidden(masks_of, states[-1], (height, width)),
            )
            states.append(self.norm(x))
        if not self.training:
            states = states[-1:]
        elif self.skip_penultimate:
            del states[-2]
        return torch.stack(states)

    def _memory(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Values and keys, (B, h * w, C) each, of a map x (B, C, h, w).

        ``level`` (C,) is the embedding of the map's level.
        """
        height, width = x.shape[2:]
        memory = x.flatten(2).transpose(1, 2) + level
        position = sine_position(height, width, self.embed_dims, x.device)
        return memory, memory + position.flatten(1).t().to(memory.dtype)

    @staticmethod
    @torch.no_grad()
    def _forbidden(
        masks_of: MasksOf, states: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """Positions outside the masks of the queries, (B, Q, h * w) bool.

        The result is False everywhere for a query whose mask is empty.
        """
        # A probability below one half.
        outside = masks_of(states, size).flatten(2) < 0
        return outside & ~outside.all(dim=2, keepdim=True)
