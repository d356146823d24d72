# SPDX-License-Identifier: Apache-2.0
"""Detection and repair of outlier patches.

CLIP stores information about the whole image in the tokens of a few patches.
Such a token hardly describes the patch itself.

Letters: B windows of images, N = h * w patches, D width of the transformer,
A heads, d width of a head.
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
    """Finds outlier patches in the output of the second-to-last block."""

    def taps(self, num_layers: int) -> tuple[int, ...]:
        """List the blocks whose output tokens are needed.

        :meth:`LastBlock.taps` explains the argument and the result.
        """
        return (num_layers - 2,)

    def __call__(
        self, blocks: nn.ModuleList, tokens: Mapping[int, Tensor]
    ) -> Tensor:
        """Find the outlier patches.

        Args:
            blocks (nn.ModuleList): All blocks of the tower.
            tokens (Mapping[int, Tensor]): Output tokens of the blocks from
                :meth:`taps`, (B, 1 + N, D) each, class token first. The keys
                are block indices.

        Returns:
            Tensor: True for outliers among the N patches, (B, N) bool.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class LocalOutliers(OutlierDetector):
    """Finds outlier patches by the local outlier factor.

    The factor is large for a patch that is far from its nearest patches, if
    those patches are close to their own nearest patches. Distances are between
    tokens, not between positions in the image.

    Args:
        neighbours (int): Number of nearest patches in the computation.
        share (float): Share of the patches that are not outliers, in [0, 1].
            A patch is an outlier if its factor is larger than the
            ``share``-quantile of all factors in its window.
    """

    neighbours: int = 30
    share: float = 0.95

    def __call__(
        self, blocks: nn.ModuleList, tokens: Mapping[int, Tensor]
    ) -> Tensor:
        """True for outliers among the N patches, (B, N) bool."""
        factor = self.factor(tokens[len(blocks) - 2][:, 1:])
        limit = factor.quantile(self.share, dim=1, keepdim=True)
        # Comparisons with NaN (many equal patches) find no outlier.
        return factor > limit

    @in_float32
    def factor(self, x: Tensor) -> Tensor:
        """Compute the local outlier factor of each patch.

        The neighbours of a patch are its ``neighbours`` nearest patches. The
        reach of a patch is the squared distance to its farthest neighbour.
        The factor of a patch is its own reach divided by the reach of a
        neighbour, averaged over its neighbours.

        Args:
            x (Tensor): N patches of width D, (B, N, D).

        Returns:
            Tensor: Factors, (B, N) float32.

        Raises:
            InputError: If N is not larger than ``neighbours``.
        """
        if x.shape[1] <= self.neighbours:
            raise InputError(
                f'a window of {x.shape[1]} patches is too small for the '
                'local outlier factor, which compares each patch with '
                f'{self.neighbours} other patches; set a larger '
                "test_cfg.crop_size, or set outliers='norm' or "
                "outliers='attention' in last_block"
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
    """Squared distances (B, N, N) between N patches (B, N, D).

    The distance of equal patches is exactly 0, since it is computed from the
    differences and not from inner products.
    """
    if is_exporting():  # ONNX has no cdist
        return (x[:, :, None] - x[:, None]).square().sum(dim=3)
    return torch.cdist(
        x, x, compute_mode='donot_use_mm_for_euclid_dist'
    ).square()


@dataclass(frozen=True)
class LargestNorms(OutlierDetector):
    """Finds outlier patches by the 2-norm of their tokens.

    Outliers are the patches with the largest norms.

    Args:
        count (int): Number of outliers in a window.
    """

    count: int = 10

    def __call__(
        self, blocks: nn.ModuleList, tokens: Mapping[int, Tensor]
    ) -> Tensor:
        """True for outliers among the N patches, (B, N) bool."""
        return largest(self.norms(tokens[len(blocks) - 2][:, 1:]), self.count)

    @in_float32
    def norms(self, x: Tensor) -> Tensor:
        """2-norms (B, N) float32 of N patches of width D, (B, N, D)."""
        return x.norm(dim=2)


@dataclass(frozen=True)
class ClassAttention(OutlierDetector):
    """Finds outlier patches by the attention from the class token.

    Outliers are the patches that get the most attention from the class token
    in the second-to-last block, as a mean over the heads. A patch can be an
    outlier only if ``factor`` times this attention is larger than the
    attention from the patch to itself.

    Args:
        count (int): Maximum number of outliers in a window.
        factor (float): Number by which the attention from the class token is
            multiplied before it is compared.
    """

    count: int = 10
    factor: float = 1.5

    def taps(self, num_layers: int) -> tuple[int, ...]:
        """List the block before the second-to-last block.

        Its output tokens are the input of the second-to-last block.
        """
        return (num_layers - 3,)

    def __call__(
        self, blocks: nn.ModuleList, tokens: Mapping[int, Tensor]
    ) -> Tensor:
        """True for outliers among the N patches, (B, N) bool."""
        by_cls, by_self = self.attention(blocks[-2], tokens[len(blocks) - 3])
        by_cls = self.factor * by_cls
        return largest(
            by_cls.masked_fill(by_cls <= by_self, -torch.inf), self.count
        )

    def attention(self, block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the attention that each patch gets.

        Args:
            block (nn.Module): Block of the tower whose attention is computed.
            x (Tensor): Input tokens of the block, (B, 1 + N, D) for N patches,
                class token first.

        Returns:
            tuple[Tensor, Tensor]: Attention from the class token to each
            patch, (B, N) float32, and attention from each patch to itself,
            (B, N) float32. Each is a mean over the heads.
        """
        tower_block: Any = block  # a CLIPBlock, perhaps wrapped
        q, k = tower_block.attn.heads(tower_block.ln_1(x), 'qk')
        return _class_and_own(q, k)


@in_float32
def _class_and_own(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Attention to each of N patches from the class token and from itself.

    Queries q and keys k are (B, A, 1 + N, d), class token first. The two
    results are means over the A heads, (B, N) each.
    """
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
    """Mark the largest scores of each row.

    Among equal scores, the first are marked. A score of -inf is never marked.

    Args:
        scores (Tensor): Scores of N patches, (B, N).
        count (int): Maximum number of marked scores in a row.

    Returns:
        Tensor: True for the largest scores, (B, N) bool.
    """
    _, order = stable_sort(scores, dim=1, descending=True)
    places = order.argsort(dim=1)
    return (places < count) & (scores > -torch.inf)


def repair(x: Tensor, outliers: Tensor, grid: tuple[int, int]) -> Tensor:
    """Replace each outlier by the mean of its normal neighbours.

    Normal patches are patches that are not outliers.

    Args:
        x (Tensor): N patches of width D, (B, N, D).
        outliers (Tensor): True for outliers, (B, N) bool.
        grid (tuple[int, int]): Rows and columns of the N patches.

    Returns:
        Tensor: Patches, (B, N, D). An outlier is not changed if none of its
        neighbours (8, or fewer at the border) is a normal patch.
    """
    kept = (~outliers)[:, None].unflatten(2, grid).float()
    maps = x.float().transpose(1, 2).unflatten(2, grid)
    # Both are divided by 9, which cancels out.
    near = F.avg_pool2d(maps * kept, 3, stride=1, padding=1)
    share = F.avg_pool2d(kept, 3, stride=1, padding=1)
    mean = (near / share).flatten(2).transpose(1, 2).to(x.dtype)
    alone = (share == 0).flatten(1)
    return torch.where((outliers & ~alone)[..., None], mean, x)
