# SPDX-License-Identifier: Apache-2.0
"""Swin Transformer with faster prediction.

Letters: B images, H x W tokens of the feature map of a stage, C channels of
this map, G attention heads, N tokens of a window.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule
from mmseg.models import SwinTransformer
from mmseg.models.backbones.swin import ShiftWindowMSA
from mmseg.registry import MODELS
from torch import Tensor

from ..utils import apply_layers, apply_linear, chunk_size, runs_as_written

# Added to the similarity of tokens that are neighbours only because the map
# is shifted.
STRANGERS = -100.0


@MODELS.register_module()
class FusedSwinTransformer(SwinTransformer):
    """MMSegmentation's ``SwinTransformer`` with faster prediction.

    It is faster in evaluation mode with gradients disabled. Parameters,
    parameter names and outputs are those of MMSegmentation's class.

    Args:
        **kwargs (Any): See ``mmseg.models.SwinTransformer``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        stage: Any
        for stage in self.stages:
            for block in stage.blocks:
                block.attn = FusedWindowAttention(block.attn)
                block.ffn = FusedFFN(block.ffn)


class FusedWindowAttention(ShiftWindowMSA):
    """Attention inside each window of a map, with faster prediction.

    MMSegmentation pads the map, shifts it, and cuts it into windows. Each of
    these three steps copies the map, and the linear layers also process the
    padding.

    In evaluation mode with gradients disabled, this class applies the linear
    layers to the map as it is. One padding token is added to the map and
    stands for all padding. The queries, keys and values of each window are
    then selected by their indices, which replaces the three steps.

    Args:
        attention (ShiftWindowMSA): MMSegmentation's module, whose parameters
            and options are used.
    """

    def __init__(self, attention: ShiftWindowMSA) -> None:
        BaseModule.__init__(self)
        self.window_size = attention.window_size
        self.shift_size = attention.shift_size
        self.w_msa = attention.w_msa
        self.drop = attention.drop

    def forward(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Apply attention inside each window.

        Args:
            query (Tensor): Tokens of a map, row by row, (B, H * W, C).
            hw_shape (tuple[int, int]): H and W.

        Returns:
            Tensor: Tokens after the attention, (B, H * W, C).
        """
        if self.training or not runs_as_written():
            return super().forward(query, hw_shape)
        # The last row is the padding.
        tokens = F.pad(query.flatten(0, 1), (0, 0, 0, 1))
        table = apply_linear(self.w_msa.qkv, tokens)
        order, parts = [], []
        for rows, bias in self._windows(hw_shape, len(query)):
            bias = bias.to(table.dtype)
            step = max(1, chunk_size(table, 0) // rows.shape[1])
            for part in rows.split(step):
                order.append(part.flatten())
                parts.append(self._attend(table, part, bias))
        place = torch.empty(len(tokens), dtype=torch.long, device=table.device)
        rows = torch.cat(order)
        place[rows] = torch.arange(len(rows), device=table.device)
        attended = F.embedding(place[:-1], torch.cat(parts))
        attended = apply_linear(self.w_msa.proj, attended)
        return attended.unflatten(0, query.shape[:2])

    def _attend(self, table: Tensor, rows: Tensor, bias: Tensor) -> Tensor:
        """Apply attention in n windows.

        Args:
            table (Tensor): Queries, keys and values of all tokens of the
                batch, one row for each token and a last row for padding,
                (B * H * W + 1, 3 * C).
            rows (Tensor): Row index in ``table`` of each of the N tokens of
                each window, (n, N) int64.
            bias (Tensor): Bias added to the attention logits of the G heads,
                (G, N, N).

        Returns:
            Tensor: Output tokens of the n windows, (n * N, C).
        """
        qkv = F.embedding(rows, table).unflatten(2, (3, len(bias), -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            q, k, v, bias[None], scale=self.w_msa.scale
        )
        return attended.transpose(1, 2).flatten(2).flatten(0, 1)

    def _windows(
        self, hw_shape: tuple[int, int], batch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """List the windows of B maps, in groups with the same bias.

        Args:
            hw_shape (tuple[int, int]): H and W.
            batch (int): Number B of maps.

        Yields:
            tuple[Tensor, Tensor]: For each group of n windows, two tensors.
            The first holds the index of each of the N tokens of a window among
            the ``B * H * W`` tokens of the batch, (n, N) int64; the index
            ``B * H * W`` stands for padding. The second is the bias added to
            the attention logits of the G heads, (G, N, N).
        """
        side, shift = self.window_size, self.shift_size
        bias = self._position_bias()
        height, width = hw_shape
        rows = torch.arange(batch * height * width, device=bias.device)
        padded = F.pad(
            rows.view(batch, height, width),
            (0, -width % side, 0, -height % side),
            value=len(rows),
        ).roll((-shift, -shift), (1, 2))
        windows = (
            padded.unflatten(2, (-1, side))
            .unflatten(1, (-1, side))
            .transpose(2, 3)
            .flatten(3)
        )
        if not shift:
            yield windows.flatten(0, 2), bias
            return
        # Windows at the lower and the right end join opposite ends.
        joined = torch.arange(side, device=bias.device) >= side - shift
        first, last = slice(0, -1), slice(-1, None)
        for down, below in ((first, False), (last, True)):
            for across, right in ((first, False), (last, True)):
                group = windows[:, down, across].flatten(0, 2)
                pieces = (
                    2 * below * joined[:, None] + right * joined
                ).flatten()
                apart = pieces[:, None] != pieces
                if len(group):
                    yield group, bias + STRANGERS * apart

    def _position_bias(self) -> Tensor:
        """Relative position bias of the G heads, (G, N, N)."""
        w_msa = self.w_msa
        index = w_msa.relative_position_index
        bias = w_msa.relative_position_bias_table.t()[:, index.flatten()]
        return bias.unflatten(1, index.shape)


class FusedFFN(FFN):
    """MLP of a block, with faster prediction on many CPUs.

    It is faster in evaluation mode with gradients disabled.

    Args:
        ffn (FFN): MMCV's module, whose parameters and options are used.
    """

    def __init__(self, ffn: FFN) -> None:
        BaseModule.__init__(self)
        self.layers = ffn.layers
        self.dropout_layer = ffn.dropout_layer
        self.gamma2 = ffn.gamma2
        self.add_identity = ffn.add_identity

    def forward(self, x: Tensor, identity: Tensor | None = None) -> Tensor:
        """Apply the MLP and add the residual.

        Args:
            x (Tensor): Normalised tokens, (B, H * W, C).
            identity (Tensor, optional): Residual, (B, H * W, C). None: ``x``.

        Returns:
            Tensor: Tokens after the MLP, (B, H * W, C).
        """
        if self.training or not runs_as_written():
            return super().forward(x, identity=identity)
        hidden, *rest = self.layers
        out = apply_layers((*hidden, *rest), x)
        return out + (x if identity is None else identity)
