# SPDX-License-Identifier: Apache-2.0
"""Contextual shift (SCAN).

It replaces some background patch tokens of a crop by the image's class token.

Letters: n regions, N patches of a region.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..utils import RandomFunction

Replacements = Mapping[int, tuple[Tensor, Tensor]]
"""By block (0-based): which patches are replaced after it, (n, N) bool, and
the token that replaces them, (n, D), or (1, D) for all regions."""


class ContextShift:
    """Contextual shift of SCAN (CVPR 2024).

    After some blocks of the region tower, a share of the background patches
    of each region, drawn for each block, is replaced by the class token of
    the whole image after the same block.

    Args:
        blocks (Sequence[int]): Blocks (0-based).
        ratio (float): Share of the background patches, in [0, 1].
        seed (int): Seed of the choice in evaluation, set for every image, so
            that results do not depend on other images or their order.

    Attributes:
        rand (Callable, optional): Function from a shape to uniform random
            numbers; the patches with the smallest numbers are chosen. None:
            PyTorch's global generator in training, otherwise ``seed``.
    """

    def __init__(
        self, blocks: Sequence[int], ratio: float, seed: int = 0
    ) -> None:
        if not 0 <= ratio <= 1:
            raise ValueError(f'ratio={ratio} of patches must lie in [0, 1]')
        self.blocks = tuple(blocks)
        self.ratio = ratio
        self.seed = seed
        self.rand: RandomFunction | None = None

    def __call__(
        self,
        foreground: Tensor,
        class_tokens: Mapping[int, Tensor],
        training: bool = False,
    ) -> Replacements:
        """Choose patches.

        Args:
            foreground (Tensor): Patches that show the region, (n, N) bool.
            class_tokens (Mapping[int, Tensor]): Class tokens of whole images
                behind each of ``blocks``, (n, D) or (1, D).
            training (bool): See ``rand``.

        Returns:
            Replacements: The patches, and the tokens that replace them.
        """
        rand = self.rand or (torch.rand if training else self._seeded)
        noise = rand((len(self.blocks), *foreground.shape))
        chosen = smallest_share(
            noise.to(foreground.device), ~foreground, self.ratio
        )
        return {
            block: (where, class_tokens[block])
            for block, where in zip(self.blocks, chosen)
        }

    def _seeded(self, shape: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(shape, generator=generator)


def smallest_share(noise: Tensor, among: Tensor, ratio: float) -> Tensor:
    """Mark a share of each row (rounded down): the smallest numbers.

    Args:
        noise (Tensor): Numbers below 2, (..., N).
        among (Tensor): Entries that may be marked, (..., N) bool.
        ratio (float): Share.

    Returns:
        Tensor: (..., N) bool.
    """
    counts = (ratio * among.sum(dim=-1, keepdim=True).double()).long()
    noise = torch.where(among, noise, 2.0)
    ranks = noise.argsort(dim=-1).argsort(dim=-1)
    return ranks < counts
