# SPDX-License-Identifier: Apache-2.0
"""Last blocks that also use the output of earlier blocks.

Letters: B windows of images, A heads, d width of a head, N patches,
D = A * d width of the transformer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.inference import in_float32
from ovseg_mm.utils.errors import InputError

from .base import LastBlock, attend
from .outliers import DETECTORS, repair


class Plan(NamedTuple):
    """Blocks that :class:`SCCLIPBlock` reads, and weight of the class token.

    Blocks are numbered from 0. Similarities are cosine similarities between
    the output patches of a block.

    Attributes:
        mid (int): Block whose similarities are used as attention.
        early (int): Block whose similarities smooth the result.
        first (int): First of the blocks whose outputs are summed.
        end (int): Index after the last of the blocks whose outputs are summed.
        cls_weight (float): Weight with which the class token is added to each
            patch.
    """

    mid: int
    early: int
    first: int
    end: int
    cls_weight: float


def default_plan(num_layers: int) -> Plan:
    """Choose the default :class:`Plan` for a tower of any depth.

    Values are published for two depths:

    - 12 blocks: ``mid`` 8, ``early`` 3, ``first`` 3, ``end`` 10 (the outputs
      of the blocks 3 to 9 are summed), ``cls_weight`` 0.3.
    - 24 blocks: ``mid`` 16, ``early`` 6, ``first`` 8, ``end`` 19 (the outputs
      of the blocks 8 to 18 are summed), ``cls_weight`` 0.1.

    For other depths, each value is interpolated or extrapolated linearly.
    Indices are limited to the blocks before the last block, and the weight is
    limited to [0.1, 0.3].

    Args:
        num_layers (int): Number of blocks of the tower.

    Returns:
        Plan: Indices of the blocks, and weight of the class token.
    """
    position = (num_layers - 12) / 12

    def at(first: int, second: int) -> int:
        index = round(first + position * (second - first))
        return min(max(index, 0), num_layers - 2)

    return Plan(
        mid=at(8, 16),
        early=at(3, 6),
        first=at(3, 8),
        end=at(9, 18) + 1,
        cls_weight=0.3 - 0.2 * min(max(position, 0.0), 1.0),
    )


@MODELS.register_module()
@dataclass(frozen=True)
class SCCLIPBlock(LastBlock):
    """Last block of self-calibrated CLIP (SC-CLIP).

    `Self-Calibrated CLIP for Training-Free Open-Vocabulary Segmentation
    <https://arxiv.org/abs/2411.15869>`_. Blocks are numbered from 0.

    1. Outlier patches are replaced by the mean of their neighbours.
    2. Each patch becomes a mean of all patches, weighted by the similarities
       between the patches of a middle block.
    3. The attention is the mean of key-key attention and of a softmax of the
       same similarities.
    4. The weighted class token is added to each patch.
    5. Each patch becomes a mean of all patches, weighted by the similarities
       between the patches of an early block.
    6. A second pass repeats steps 3 to 5 with the sum of the outputs of
       several blocks as input. The results of the two passes are added.

    An option that is None gets a default value, which depends on the depth of
    the tower, see :func:`default_plan`.

    Args:
        outliers (str): How outliers are found: ``'lof'`` (local outlier
            factor; needs 31 or more patches in a window), ``'norm'``
            (largest norms) or ``'attention'`` (attention of the class token).
        mid_layer (int, optional): Middle block, whose similarities are used
            as attention.
        early_layer (int, optional): Early block, whose similarities smooth
            the result.
        sum_layers (tuple[int, int], optional): Blocks whose outputs are
            summed: ``(a, b)`` selects the blocks a to b - 1.
        cls_weight (float, optional): Weight of the class token.
        min_similarity (float): Threshold of the cosine similarities. Smaller
            similarities are set to 0.
    """

    outliers: str = 'lof'
    mid_layer: int | None = None
    early_layer: int | None = None
    sum_layers: tuple[int, int] | None = None
    cls_weight: float | None = None
    min_similarity: float = 0.4

    def __post_init__(self) -> None:
        """Raise an InputError if the value of ``outliers`` is unknown."""
        if self.outliers not in DETECTORS:
            raise InputError(
                f'outliers={self.outliers!r} of {type(self).__name__} is not '
                f'one of {", ".join(DETECTORS)}'
            )

    def taps(self, num_layers: int) -> tuple[int, ...]:
        """List the blocks whose output tokens are needed.

        :meth:`LastBlock.taps` explains the argument and the result.
        """
        last = super().taps(num_layers)
        plan = self.plan(num_layers)
        found = DETECTORS[self.outliers].taps(num_layers)
        summed = range(plan.first, plan.end)
        return (*last, *found, plan.mid, plan.early, *summed)

    def plan(self, num_layers: int) -> Plan:
        """Compute the :class:`Plan` of this block for a tower.

        An option that is None gets its default value, see
        :func:`default_plan`.

        Args:
            num_layers (int): Number of blocks of the tower.

        Returns:
            Plan: Indices of the blocks that are used, and weight of the class
            token.

        Raises:
            InputError: If an index does not select a block before the last
                block.
        """
        plan = default_plan(num_layers)
        if self.mid_layer is not None:
            plan = plan._replace(mid=self.mid_layer)
        if self.early_layer is not None:
            plan = plan._replace(early=self.early_layer)
        if self.sum_layers is not None:
            plan = plan._replace(
                first=self.sum_layers[0], end=self.sum_layers[1]
            )
        if self.cls_weight is not None:
            plan = plan._replace(cls_weight=self.cls_weight)
        for name, low, high in (
            ('mid_layer', plan.mid, plan.mid),
            ('early_layer', plan.early, plan.early),
            ('sum_layers', plan.first, plan.end - 1),
        ):
            if not 0 <= low <= high <= num_layers - 2:
                raise InputError(
                    f'{name}={getattr(self, name)} of {type(self).__name__} '
                    f'must select blocks from 0 to {num_layers - 2}, which '
                    'are before the last block of this CLIP (sum_layers='
                    '(a, b) selects the blocks a to b - 1); change or '
                    f'remove {name}'
                )
        return plan

    def __call__(
        self,
        blocks: nn.ModuleList,
        tokens: Mapping[int, Tensor],
        grid: tuple[int, int],
    ) -> Tensor:
        """Compute the output tokens of the last block, (B, 1 + N, D).

        The class token comes first. It is the class token of the block's
        input, unchanged. The tokens of the N patches follow.
        :meth:`LastBlock.__call__` explains the arguments.
        """
        plan = self.plan(len(blocks))
        last: Any = blocks[-1]  # a CLIPBlock, perhaps wrapped
        attn = last.attn
        cls, x = tokens[len(blocks) - 2].tensor_split([1], dim=1)
        outliers = DETECTORS[self.outliers](blocks, tokens)
        mid = repair(tokens[plan.mid][:, 1:], outliers, grid)
        similarity = cosines(mid)
        kept = cut(similarity, self.min_similarity)
        extra = self.extra_map(similarity, kept)
        early = cosines(tokens[plan.early][:, 1:])
        early = cut(early, self.min_similarity)

        x = gather(kept, repair(x, outliers, grid))
        q, k, v = attn.heads(last.ln_1(x))
        x = attn.merge(self.mix(q, k, v, extra)) + plan.cls_weight * cls
        x = gather(early, x)

        # Any for mypy: plan() allows no empty sum, which would be 0.
        summed: Any = sum(tokens[i] for i in range(plan.first, plan.end))
        z_cls, z = summed.tensor_split([1], dim=1)
        q, k, v = attn.heads(last.ln_1(z))
        z = attn.merge(self.mix_again(q, k, v, extra))
        x = x + gather(early, z + plan.cls_weight * z_cls)
        return torch.cat([cls, x], dim=1)

    def extra_map(self, similarity: Tensor, kept: Tensor) -> Tensor:
        """Compute one attention map for all heads from the similarities.

        :meth:`mix` and :meth:`mix_again` use this map as ``extra``.

        Args:
            similarity (Tensor): Similarities between the N patches of the
                middle block, (B, N, N) float32.
            kept (Tensor): Copy of ``similarity`` in which values below
                ``min_similarity`` are 0, (B, N, N) float32.

        Returns:
            Tensor: Attention map, (B, N, N) float32; rows sum to 1.
        """
        return sharpened(similarity)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, extra: Tensor) -> Tensor:
        """Apply the attention in the first of two passes of this block.

        The attention map is the mean of key-key attention and of ``extra``;
        ``q`` is not used.

        Args:
            q (Tensor): Queries of N patches and A heads, (B, A, N, d).
            k (Tensor): Keys of the patches, (B, A, N, d).
            v (Tensor): Values of the patches, (B, A, N, d).
            extra (Tensor): Attention map for all heads, from
                :meth:`extra_map`, (B, N, N).

        Returns:
            Tensor: Values after attention, (B, A, N, d).
        """
        return (_shared(extra, v) + attend(k, k, v)) / 2

    def mix_again(
        self, q: Tensor, k: Tensor, v: Tensor, extra: Tensor
    ) -> Tensor:
        """Apply the attention in the second pass of this block.

        It is the same attention as in the first pass: this method calls
        :meth:`mix`, which explains the arguments.
        """
        return self.mix(q, k, v, extra)


@MODELS.register_module()
@dataclass(frozen=True)
class SFPBlock(SCCLIPBlock):
    """Last block of SFP, a variant of self-calibrated CLIP.

    Feature purification for training-free open-vocabulary segmentation (SFP,
    ICCV 2025). :class:`SCCLIPBlock` explains the steps and the two passes.
    Four points differ:

    - Outliers are found by the attention of the class token.
    - Similarities of the middle block below ``min_similarity`` are set to 0
      before the softmax of the attention.
    - The attention of the first pass also includes query-query attention.
    - The attention of the second pass uses only the similarities of the middle
      block.

    An option that is None gets a default value, which depends on the depth of
    the tower, see :func:`default_plan`.

    Args:
        outliers (str): How outliers are found: ``'attention'``, ``'lof'`` or
            ``'norm'``.
        mid_layer (int, optional): Middle block, counted from 0.
        early_layer (int, optional): Early block, counted from 0.
        sum_layers (tuple[int, int], optional): Blocks whose outputs are
            summed: ``(a, b)`` selects the blocks a to b - 1.
        cls_weight (float, optional): Weight of the class token.
        min_similarity (float): Threshold of the cosine similarities. Smaller
            similarities are set to 0.
    """

    outliers: str = 'attention'

    def extra_map(self, similarity: Tensor, kept: Tensor) -> Tensor:
        """Compute one attention map for all heads from ``kept`` only.

        :meth:`SCCLIPBlock.extra_map` explains the arguments and the result.
        """
        return sharpened(kept)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, extra: Tensor) -> Tensor:
        """Apply the attention in the first of two passes of this block.

        The attention map is the mean of query-query attention, key-key
        attention and ``extra``. :meth:`SCCLIPBlock.mix` explains the
        arguments.
        """
        return (_shared(extra, v) + attend(q, q, v) + attend(k, k, v)) / 3

    def mix_again(
        self, q: Tensor, k: Tensor, v: Tensor, extra: Tensor
    ) -> Tensor:
        """Apply the attention in the second pass of this block.

        The attention map is ``extra``; ``q`` and ``k`` are not used.
        :meth:`SCCLIPBlock.mix` explains the arguments.
        """
        return _shared(extra, v)


@in_float32
def cosines(x: Tensor) -> Tensor:
    """Cosine similarities (B, N, N) float32 between N patches (B, N, D)."""
    x = F.normalize(x, dim=2)
    return x @ x.transpose(1, 2)


def cut(similarity: Tensor, least: float) -> Tensor:
    """Copy of the similarities in which values below ``least`` are 0."""
    return similarity.masked_fill(similarity < least, 0)


def sharpened(similarity: Tensor, scale: float = 3.0) -> Tensor:
    """Turn similarities into an attention map by a softmax of each row.

    Similarities below the mean of all N x N similarities of the same window
    get attention 0.

    Args:
        similarity (Tensor): Similarities between N patches, (B, N, N)
            float32.
        scale (float): Number by which the similarities are multiplied before
            the softmax.

    Returns:
        Tensor: Attention map, (B, N, N) float32; rows sum to 1.
    """
    mean = similarity.mean(dim=(1, 2), keepdim=True)
    logits = scale * (similarity - mean)
    return logits.masked_fill(logits < 0, -torch.inf).softmax(dim=2)


def gather(weights: Tensor, x: Tensor) -> Tensor:
    """Replace each patch by a weighted mean of all patches.

    Args:
        weights (Tensor): Weights, at least 0, (B, N, N) float32. Row i holds
            the weights of all patches in the mean for patch i.
        x (Tensor): N patches of width D, (B, N, D).

    Returns:
        Tensor: Means, (B, N, D), computed in float32 and returned in the dtype
        of ``x``.
    """
    shares = weights / (weights.sum(dim=2, keepdim=True) + 1e-6)
    return in_float32(torch.matmul)(shares, x).to(x.dtype)


def _shared(weights: Tensor, v: Tensor) -> Tensor:
    """Apply one attention map, ``weights``, to the values v of all heads.

    Weights are (B, N, N) for N patches; values are (B, heads, N, width).
    """
    return weights[:, None].to(v.dtype) @ v
