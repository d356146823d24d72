# SPDX-License-Identifier: Apache-2.0
"""Training-free last blocks, which make patch tokens comparable with texts.

Letters: B windows, A heads, d width of a head, N patches, D = A * d width of
the transformer.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovseg_mm.utils.errors import InputError


class LastBlock(ABC):
    """Replacement of the last block of CLIP's image tower.

    It has no weights of its own: it uses the weights of the tower's blocks
    and the output tokens of some of them. Sub-classes are registered in
    MMSegmentation's ``MODELS``; ``CLIPViT(last_block=dict(type=...))`` names
    one.
    """

    def taps(self, num_layers: int) -> tuple[int, ...]:
        """Blocks (0-based) whose output tokens are read.

        Args:
            num_layers (int): Blocks of the tower.

        Returns:
            tuple[int, ...]: -1 is the input of the first block.

        Raises:
            InputError: If the tower is too shallow.
        """
        if num_layers < 2:
            raise InputError(
                f'{type(self).__name__} needs a tower with two or more '
                f'blocks; this CLIP has {num_layers}'
            )
        return (num_layers - 2,)

    @abstractmethod
    def __call__(
        self,
        blocks: nn.ModuleList,
        tokens: Mapping[int, Tensor],
        grid: tuple[int, int],
    ) -> Tensor:
        """Tokens that enter the tower's last norm.

        Args:
            blocks (nn.ModuleList): All blocks of the tower.
            tokens (Mapping[int, Tensor]): Output of the blocks that
                :meth:`taps` names, (B, 1 + N, D) each, class token first.
            grid (tuple[int, int]): Rows and columns of patches; N of them.

        Returns:
            Tensor: (B, 1 + N, D), class token first.
        """

    def keys(
        self, blocks: nn.ModuleList, tokens: Mapping[int, Tensor]
    ) -> Tensor | None:
        """Keys of the last block, (B, N, D), or None if no head needs them."""
        return None


def attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Attention, computed one head at a time.

    The maps of all heads are never in memory together, even
    where PyTorch has no fused kernel.

    Args:
        q (Tensor): Queries, (B, A, N, d).
        k (Tensor): Keys, (B, A, N, d).
        v (Tensor): Values, (B, A, N, e).
        bias (Tensor, optional): Added before the softmax, (N, N).

    Returns:
        Tensor: softmax(q k^T / sqrt(d) + bias) v, (B, A, N, e).
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
