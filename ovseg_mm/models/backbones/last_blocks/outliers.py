# SPDX-License-Identifier: Apache-2.0
"""Detection and repair of outlier patches.

CLIP stores global information in a few patches, whose tokens hardly describe
their place in the image.

Letters: B windows, N = h * w patches, D width of the transformer, A heads, d
width of a head.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovseg_mm.inference import in_float32
from ovseg_mm.utils.errors import InputError

from ...utils import is_exporting, stable_sort


class OutlierDetector:
    """Finds outliers in the output of the block before the last."""

    def taps(self, num_layers: int) -> tuple[int, ...]:
        """Blocks whose output is read, see :class:`LastBlock`."""
        return (num_layers - 2,)

    def __call__(
        self, blocks: nn.ModuleList, tokens: Mapping[int, Tensor]
    ) -> Tensor:
        """Which patches are outliers.

        Args:
            blocks (nn.ModuleList): All blocks of the tower.
            tokens (Mapping[int, Tensor]): Output of the blocks that
                :meth:`taps` names, (B, 1 + N, D) each, class token first.

        Returns:
            Tensor: (B, N) bool.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class LocalOutliers(OutlierDetector):
    """Local outlier factor: patches far from others that are close together.

    Args:
        neighbours (int): Nearest patches that a patch is compared with.
        share (float): Patches whose factor is above this quantile are
            outliers.
    """

    neighbours: int = 30
    share: float = 0.95

    def __call__(
        self, blocks: nn.ModuleList, tokens: Mapping[int, Tensor]
    ) -> Tensor:
        """See :class:`OutlierDetector`."""
        factor = self.factor(tokens[len(blocks) - 2][:, 1:])
        limit = factor.quantile(self.share, dim=1, keepdim=True)
        # Comparisons with NaN (many equal patches) find no outlier.
        return factor > limit

    @in_float32
    def factor(self, x: Tensor) -> Tensor:
        """Reach of a patch, divided by the reach of its neighbours; the mean.

        The reach of a patch is the squared distance to the farthest of its
        neighbours.

        Args:
            x (Tensor): Patches, (B, N, D).

        Returns:
            Tensor: (B, N) float32.

        Raises:
            InputError: If there are too few patches.
        """
        if x.shape[1] <= self.neighbours:
            raise InputError(
                f'a window of {x.shape[1]} patches is too small for the '
                'local outlier factor, which compares each patch with '
                f'{self.neighbours} others; use larger windows '
                "(test_cfg.crop_size), or outliers='norm' or 'attention' of "
                'last_block'
            )
        squared = _squared_distances(x)
        own = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        squared = squared.masked_fill_(own, torch.inf)
        near, index = stable_sort(squared, dim=2)
        reach = near[..., self.neighbours - 1]
        index = index[..., : self.neighbours]
        others = reach[:, None].expand_as(squared).gather(2, index)
        return (reach[..., None] / others).mean(dim=2)


def _squared_distances(x: Tensor) -> Tensor:
    """Squared distances (B, N, N) between patches (B, N, D).

    They are computed from differences, so that equal patches have distance 0.
    """
    if is_exporting():  # ONNX has no cdist
        return (x[:, :, None] - x[:, None]).square().sum(dim=3)
    return torch.cdist(
        x, x, compute_mode='donot_use_mm_for_euclid_dist'
    ).square()


@dataclass(frozen=True)
class LargestNorms(OutlierDetector):
    """The patches with the largest 2-norm.

    Args:
        count (int): Largest number of outliers in a window.
    """

    count: int = 10

    def __call__(
        self, blocks: nn.ModuleList, tokens: Mapping[int, Tensor]
    ) -> Tensor:
        """See :class:`OutlierDetector`."""
        return largest(self.norms(tokens[len(blocks) - 2][:, 1:]), self.count)

    @in_float32
    def norms(self, x: Tensor) -> Tensor:
        """2-norms (B, N), float32, of patches (B, N, D)."""
        return x.norm(dim=2)


@dataclass(frozen=True)
class ClassAttention(OutlierDetector):
    """The patches that the class token attends to most.

    A patch is an outlier only if the class token attends to it more than it
    attends to itself. Attention is that of the block before the last one, the
    mean over its heads.

    Args:
        count (int): Largest number of outliers in a window.
        factor (float): Factor of the class token's attention, before it is
            compared with that of the patch to itself.
    """

    count: int = 10
    factor: float = 1.5

    def taps(self, num_layers: int) -> tuple[int, ...]:
        """The input of the block before the last."""
        return (num_layers - 3,)

    def __call__(
        self, blocks: nn.ModuleList, tokens: Mapping[int, Tensor]
    ) -> Tensor:
        """See :class:`OutlierDetector`."""
        by_cls, by_self = self.attention(blocks[-2], tokens[len(blocks) - 3])
        by_cls = self.factor * by_cls
        return largest(
            by_cls.masked_fill(by_cls <= by_self, -torch.inf), self.count
        )

    def attention(self, block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """Attention of the class token and of patches to themselves.

        Args:
            block (nn.Module): The block whose attention it is.
            x (Tensor): Its input, (B, 1 + N, D).

        Returns:
            tuple[Tensor, Tensor]: For each patch, the class token's weight and
            the patch's own weight, mean over heads, (B, N) float32 each.
        """
        tower_block: Any = block  # a CLIPBlock, perhaps wrapped
        q, k = tower_block.attn.heads(tower_block.ln_1(x), 'qk')
        return _class_and_own(q, k)


@in_float32
def _class_and_own(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """See :meth:`ClassAttention.attention`; q and k are (B, A, 1 + N, d)."""
    q = q * q.shape[-1] ** -0.5
    by_cls: Any = 0.0  # a tensor from the first head on, as by_own
    by_own: Any = 0.0
    for query, key in zip(q.unbind(dim=1), k.unbind(dim=1)):
        logits = query @ key.transpose(1, 2)
        total = logits.logsumexp(dim=2)
        own = logits.diagonal(dim1=1, dim2=2)
        by_own = by_own + (own - total).exp()[:, 1:]
        by_cls = by_cls + (logits[:, 0] - total[:, :1]).exp()[:, 1:]
    return by_cls / q.shape[1], by_own / q.shape[1]


DETECTORS = dict(
    lof=LocalOutliers(), norm=LargestNorms(), attention=ClassAttention()
)


def largest(scores: Tensor, count: int) -> Tensor:
    """Find the largest scores of each row; of equal scores, the first ones.

    Args:
        scores (Tensor): Scores of patches, (B, N).
        count (int): Number of scores in each row; -inf is never chosen.

    Returns:
        Tensor: Which scores are the largest, (B, N) bool.
    """
    _, order = stable_sort(scores, dim=1, descending=True)
    places = order.argsort(dim=1)
    return (places < count) & (scores > -torch.inf)


def repair(x: Tensor, outliers: Tensor, grid: tuple[int, int]) -> Tensor:
    """Replace each outlier by the mean of the normal patches next to it.

    Args:
        x (Tensor): Patches, (B, N, D).
        outliers (Tensor): Which patches are outliers, (B, N) bool.
        grid (tuple[int, int]): Rows and columns of patches.

    Returns:
        Tensor: (B, N, D). An outlier without a normal neighbour (of up to 8)
        stays as it is.
    """
    kept = (~outliers)[:, None].unflatten(2, grid).float()
    maps = x.float().transpose(1, 2).unflatten(2, grid)
    # Both are divided by 9, which cancels out.
    near = F.avg_pool2d(maps * kept, 3, stride=1, padding=1)
    share = F.avg_pool2d(kept, 3, stride=1, padding=1)
    mean = (near / share).flatten(2).transpose(1, 2).to(x.dtype)
    alone = (share == 0).flatten(1)
    return torch.where((outliers & ~alone)[..., None], mean, x)
