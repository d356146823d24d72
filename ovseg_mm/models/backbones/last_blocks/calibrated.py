# SPDX-License-Identifier: Apache-2.0
"""Last blocks that also use the output of earlier blocks.

Letters: B windows, A heads, d width of a head, N patches, D = A * d width of
the transformer.
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
    """Blocks (0-based) and weight for a tower of some depth.

    Attributes:
        mid (int): Block whose patch similarities gather values.
        early (int): Block whose patch similarities smooth the result.
        first (int): First of the blocks whose outputs are summed.
        end (int): Block after the last of these.
        cls_weight (float): Weight of the class token.
    """

    mid: int
    early: int
    first: int
    end: int
    cls_weight: float


def default_plan(num_layers: int) -> Plan:
    """Plan for a tower of any number of blocks.

    The plans for 12 blocks, (mid 8, early 3, sum of 3 to 9, weight 0.3), and
    for 24 blocks, (16, 6, 8 to 18, 0.1), are published. For other towers, each
    number is interpolated linearly, and limited to the blocks before the last
    one; the weight stays within [0.1, 0.3].
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
    """Self-calibrated CLIP.

    `Self-Calibrated CLIP for Training-Free Open-Vocabulary Segmentation
    <https://arxiv.org/abs/2411.15869>`_. Outliers among the patches are
    repaired; similarities of the patches of a middle block gather values
    in addition to key-key attention, those of an early block smooth the
    result; a second pass adds what the sum of several blocks gives.

    Args:
        outliers (str): How outliers are found: ``'lof'`` (local outlier
            factor; needs 31 or more patches in a window), ``'norm'``
            (largest norms) or ``'attention'`` (of the class token).
        mid_layer (int, optional): See :class:`Plan`. None: given by the
            depth of the tower, see :func:`default_plan`. The same holds for
            the next three arguments.
        early_layer (int, optional): See :class:`Plan`.
        sum_layers (tuple[int, int], optional): First and end of the blocks
            that are summed, the end excluded.
        cls_weight (float, optional): See :class:`Plan`.
        min_similarity (float): Cosines of patches below it count as 0.
    """

    outliers: str = 'lof'
    mid_layer: int | None = None
    early_layer: int | None = None
    sum_layers: tuple[int, int] | None = None
    cls_weight: float | None = None
    min_similarity: float = 0.4

    def __post_init__(self) -> None:
        """Check the name of the detector."""
        if self.outliers not in DETECTORS:
            raise InputError(
                f'outliers={self.outliers!r} of {type(self).__name__} is not '
                f'one of {", ".join(DETECTORS)}'
            )

    def taps(self, num_layers: int) -> tuple[int, ...]:
        """See :class:`LastBlock`."""
        last = super().taps(num_layers)
        plan = self.plan(num_layers)
        found = DETECTORS[self.outliers].taps(num_layers)
        summed = range(plan.first, plan.end)
        return (*last, *found, plan.mid, plan.early, *summed)

    def plan(self, num_layers: int) -> Plan:
        """Blocks and weight for a tower; arguments override the default plan.

        Args:
            num_layers (int): Blocks of the tower.

        Returns:
            Plan: The plan.

        Raises:
            InputError: If a block is not before the last one.
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
                    f'must name blocks from 0 to {num_layers - 2}, which are '
                    'before the last block of this CLIP (the second number '
                    'of sum_layers is the block after the last one that is '
                    f'summed); leave {name} out for the default'
                )
        return plan

    def __call__(
        self,
        blocks: nn.ModuleList,
        tokens: Mapping[int, Tensor],
        grid: tuple[int, int],
    ) -> Tensor:
        """See :class:`LastBlock`. The class token is not changed."""
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
        """Attention that is the same for all heads.

        Args:
            similarity (Tensor): Similarities of the patches of the middle
                block, (B, N, N) float32.
            kept (Tensor): The same with small similarities set to 0.

        Returns:
            Tensor: (B, N, N) float32.
        """
        return sharpened(similarity)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, extra: Tensor) -> Tensor:
        """Values after attention.

        Args:
            q (Tensor): Queries of the patches, (B, A, N, d).
            k (Tensor): Keys, (B, A, N, d).
            v (Tensor): Values, (B, A, N, d).
            extra (Tensor): See :meth:`extra_map`.

        Returns:
            Tensor: (B, A, N, d).
        """
        return (_shared(extra, v) + attend(k, k, v)) / 2

    def mix_again(
        self, q: Tensor, k: Tensor, v: Tensor, extra: Tensor
    ) -> Tensor:
        """:meth:`mix` of the second pass."""
        return self.mix(q, k, v, extra)


@MODELS.register_module()
@dataclass(frozen=True)
class SFPBlock(SCCLIPBlock):
    """Self-calibrated CLIP with outliers found by attention.

    Feature purification for training-free open-vocabulary segmentation (SFP,
    ICCV 2025). Queries attend to queries as well; the second pass gathers
    values by the similarities of the middle block alone.

    Args:
        outliers (str): See :class:`SCCLIPBlock`.
        mid_layer (int, optional): See :class:`SCCLIPBlock`.
        early_layer (int, optional): See :class:`SCCLIPBlock`.
        sum_layers (tuple[int, int], optional): See :class:`SCCLIPBlock`.
        cls_weight (float, optional): See :class:`SCCLIPBlock`.
        min_similarity (float): See :class:`SCCLIPBlock`.
    """

    outliers: str = 'attention'

    def extra_map(self, similarity: Tensor, kept: Tensor) -> Tensor:
        """See :class:`SCCLIPBlock`; small similarities are already 0."""
        return sharpened(kept)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, extra: Tensor) -> Tensor:
        """See :class:`SCCLIPBlock`."""
        return (_shared(extra, v) + attend(q, q, v) + attend(k, k, v)) / 3

    def mix_again(
        self, q: Tensor, k: Tensor, v: Tensor, extra: Tensor
    ) -> Tensor:
        """Use the extra map alone."""
        return _shared(extra, v)


@in_float32
def cosines(x: Tensor) -> Tensor:
    """Cosine similarities (B, N, N), float32, of patches (B, N, D)."""
    x = F.normalize(x, dim=2)
    return x @ x.transpose(1, 2)


def cut(similarity: Tensor, least: float) -> Tensor:
    """Set similarities below ``least`` to 0."""
    return similarity.masked_fill(similarity < least, 0)


def sharpened(similarity: Tensor, scale: float = 3.0) -> Tensor:
    """Softmax of each row; similarities below the mean of all get 0.

    Args:
        similarity (Tensor): Similarities of patches, (B, N, N) float32.
        scale (float): Factor before the softmax.

    Returns:
        Tensor: (B, N, N) float32; rows sum to 1.
    """
    mean = similarity.mean(dim=(1, 2), keepdim=True)
    logits = scale * (similarity - mean)
    return logits.masked_fill(logits < 0, -torch.inf).softmax(dim=2)


def gather(weights: Tensor, x: Tensor) -> Tensor:
    """Weighted means of patches.

    Args:
        weights (Tensor): Weights of the means, (B, N, N) float32, not
            negative.
        x (Tensor): Patches, (B, N, D).

    Returns:
        Tensor: (B, N, D), computed in float32.
    """
    shares = weights / (weights.sum(dim=2, keepdim=True) + 1e-6)
    return in_float32(torch.matmul)(shares, x).to(x.dtype)


def _shared(weights: Tensor, v: Tensor) -> Tensor:
    """Apply one map (B, N, N) to the values (B, A, N, d) of all heads."""
    return weights[:, None].to(v.dtype) @ v
