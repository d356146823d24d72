# SPDX-License-Identifier: Apache-2.0
"""Contextual shift of SCAN.

Some background patches of a masked crop are replaced by the class token of the
whole image.

Letters: n crops, N patches of a crop, D width of the tokens.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..utils import RandomFunction

Replacements = Mapping[int, tuple[Tensor, Tensor]]
"""Patches to replace after some blocks. Keys are indices of blocks, from 0.
Values are pairs: a mask that is True for the patches to replace, (n, N) bool,
and the token that replaces them, (n, D), or (1, D) for all crops."""


class ContextShift:
    """Contextual shift of SCAN (CVPR 2024).

    CLIP encodes masked crops. After each block in ``blocks``, some background
    patches of a crop are replaced by the class token of the whole image after
    the same block. These patches are chosen at random.

    Args:
        blocks (Sequence[int]): Indices of the blocks, counted from 0.
        ratio (float): Share of the background patches that is replaced, in
            [0, 1].
        seed (int): Seed of the random choice in evaluation. The choice for
            each image starts with this seed, so it does not depend on other
            images.

    Attributes:
        rand (Callable, optional): Function ``rand(shape)`` that returns a
            tensor of uniform random numbers. The patches with the smallest
            numbers are replaced. None: PyTorch's global generator in training,
            and a generator with ``seed`` in evaluation.
    """

    def __init__(
        self, blocks: Sequence[int], ratio: float, seed: int = 0
    ) -> None:
        if not 0 <= ratio <= 1:
            raise ValueError(
                f'ratio={ratio} of the contextual shift must lie in [0, 1]'
            )
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
        """Choose the patches to replace.

        Args:
            foreground (Tensor): True for patches that show the region, (n, N)
                bool, for n crops of N patches.
            class_tokens (Mapping[int, Tensor]): Class tokens of the whole
                images after each block. The keys are block indices. The shape
                is (1, D) if all crops are of one image, and (n, D) otherwise.
                D is the width of the tokens.
            training (bool): Whether the choice is random. False: it depends
                only on ``seed``.

        Returns:
            Replacements: Background patches to replace after each block, and
            the tokens that replace them.
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
    """Mark the smallest numbers of each row.

    Args:
        noise (Tensor): Numbers in rows of N, (..., N). They must be below 2,
            since numbers outside ``among`` are replaced by 2 before numbers
            are compared.
        among (Tensor): True for numbers that may be marked, (..., N) bool.
        ratio (float): Share of the numbers in ``among`` that is marked. In
            each row, the count is rounded down.

    Returns:
        Tensor: True for marked numbers, (..., N) bool.
    """
    counts = (ratio * among.sum(dim=-1, keepdim=True).double()).long()
    noise = torch.where(among, noise, 2.0)
    ranks = noise.argsort(dim=-1).argsort(dim=-1)
    return ranks < counts
