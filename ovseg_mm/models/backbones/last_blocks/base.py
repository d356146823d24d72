# SPDX-License-Identifier: Apache-2.0
"""Training-free last blocks, which make patch tokens comparable with texts.

Letters: B windows of images, A heads, d width of a head, N patches,
D = A * d width of the transformer.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovseg_mm.utils.errors import InputError


class LastBlock(ABC):
    """Replacement of the last block of CLIP's image tower.

    A last block has no parameters. It uses the parameters of the tower's
    blocks and the output tokens of the blocks that :meth:`taps` lists.
    Sub-classes are registered in MMSegmentation's ``MODELS``; set the type in
    ``CLIPViT(last_block=dict(type=...))``.
    """

    def taps(self, num_layers: int) -> tuple[int, ...]:
        """List the blocks whose output tokens :meth:`__call__` needs.

        Args:
            num_layers (int): Number of blocks of the tower.

        Returns:
            tuple[int, ...]: Indices of the blocks, counted from 0; -1 stands
            for the input of the first block.

        Raises:
            InputError: If the tower has fewer than two blocks.
        """
        if num_layers < 2:
            raise InputError(
                f'last_block {type(self).__name__} needs an image tower of '
                f'two or more blocks, but this CLIP has {num_layers}; choose '
                'another arch'
            )
        return (num_layers - 2,)

    @abstractmethod
    def __call__(
        self,
        blocks: nn.ModuleList,
        tokens: Mapping[int, Tensor],
        grid: tuple[int, int],
    ) -> Tensor:
        """Compute the tokens that the tower's final norm receives.

        Args:
            blocks (nn.ModuleList): All blocks of the tower.
            tokens (Mapping[int, Tensor]): Output tokens of the blocks in
                :meth:`taps`, (B, 1 + N, D) each, class token first. The keys
                are block indices.
            grid (tuple[int, int]): Rows and columns of the N patches.

        Returns:
            Tensor: Tokens, (B, 1 + N, D), class token first.
        """

    def keys(
        self, blocks: nn.ModuleList, tokens: Mapping[int, Tensor]
    ) -> Tensor | None:
        """Return the keys of the N patches, (B, N, D).

        This base class returns None. Sub-classes may return keys.
        """
        return None


def attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Compute attention one head at a time, to save memory.

    Where PyTorch has no fused kernel, it stores the attention maps. The maps
    of all A heads at once would need A times the memory.

    Args:
        q (Tensor): Queries of N tokens and A heads, (B, A, N, d).
        k (Tensor): Keys, (B, A, N, d).
        v (Tensor): Values of any width e, (B, A, N, e).
        bias (Tensor, optional): Bias added to the attention logits before the
            softmax, (N, N). None: no bias.

    Returns:
        Tensor: ``softmax(q k^T / sqrt(d) + bias) v``, (B, A, N, e).
    """
    return torch.cat(
        [
            F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
            for query, key, value in zip(
                *(x.split(1, dim=1) for x in (q, k, v))
            )
        ],
        dim=1,
    )
