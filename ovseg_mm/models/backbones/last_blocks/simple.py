# SPDX-License-Identifier: Apache-2.0
"""Last blocks that replace CLIP's attention by another attention.

Letters: B windows of images, A heads, d width of a head, N patches,
D = A * d width of the transformer.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from .base import LastBlock, attend


@dataclass(frozen=True)
class OtherAttention(LastBlock):
    """Last block whose attention is replaced by :meth:`mix`.

    Args:
        keep_residual_and_mlp (bool): Whether the block's input is added to
            the attention's output and the MLP follows, as in CLIP. False: the
            output of the block is the attention's output.
    """

    keep_residual_and_mlp: bool = False

    @abstractmethod
    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Attend to the values.

        Args:
            q (Tensor): Queries of A heads of width d, (B, A, 1 + N, d), class
                token first.
            k (Tensor): Keys, (B, A, 1 + N, d).
            v (Tensor): Values, (B, A, 1 + N, d).
            grid (tuple[int, int]): Rows and columns of the N patches.

        Returns:
            Tensor: Values after attention, (B, A, 1 + N, d).
        """

    def __call__(
        self,
        blocks: nn.ModuleList,
        tokens: Mapping[int, Tensor],
        grid: tuple[int, int],
    ) -> Tensor:
        """Compute the output tokens of the last block, (B, 1 + N, D).

        The class token comes first, and the tokens of the N patches follow.
        :meth:`LastBlock.__call__` explains the arguments.
        """
        block: Any = blocks[-1]  # a CLIPBlock, perhaps wrapped
        x = tokens[len(blocks) - 2]
        q, k, v = block.attn.heads(block.ln_1(x))
        mixed = block.attn.merge(self.mix(q, k, v, grid))
        if not self.keep_residual_and_mlp:
            return mixed
        x = x + mixed
        return x + block.mlp(block.ln_2(x))


@MODELS.register_module()
@dataclass(frozen=True)
class MaskCLIPBlock(OtherAttention):
    """Last block of MaskCLIP: each token attends only to itself.

    `Extract Free Dense Labels from CLIP <https://arxiv.org/abs/2112.01071>`_.

    Args:
        keep_residual_and_mlp (bool): See :class:`OtherAttention`. MaskCLIP
            uses True. False gives better results on images of scenes and worse
            results on images of single objects.
        give_keys (bool): Whether :meth:`keys` returns the keys of the
            patches, which the key smoothing of :class:`MaskCLIPHead` needs.
    """

    keep_residual_and_mlp: bool = True
    give_keys: bool = False

    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Return the values v unchanged."""
        return v

    def keys(
        self, blocks: nn.ModuleList, tokens: Mapping[int, Tensor]
    ) -> Tensor | None:
        """Return the keys of the N patches, (B, N, D).

        The output projection of the attention is applied to the keys. If the
        option ``give_keys`` is False, the result is None.
        """
        if not self.give_keys:
            return None
        block: Any = blocks[-1]  # a CLIPBlock, perhaps wrapped
        patches = tokens[len(blocks) - 2][:, 1:]
        (k,) = block.attn.heads(block.ln_1(patches), 'k')
        return block.attn.merge(k)


@MODELS.register_module()
@dataclass(frozen=True)
class SCLIPBlock(OtherAttention):
    """Last block of SCLIP: sum of query-query and key-key attention.

    `SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference
    <https://arxiv.org/abs/2312.01597>`_. The attention weights of each token
    sum to 2, since the two attention maps are added and not averaged.

    Args:
        keep_residual_and_mlp (bool): See :class:`OtherAttention`.
    """

    keep_residual_and_mlp: bool = True

    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Add the results of query-query attention and key-key attention.

        :meth:`OtherAttention.mix` explains the arguments.
        """
        return attend(q, q, v) + attend(k, k, v)


@MODELS.register_module()
@dataclass(frozen=True)
class ClearCLIPBlock(OtherAttention):
    """Last block of ClearCLIP: query-query attention, no residual, no MLP.

    `ClearCLIP: Decomposing CLIP Representations for Dense Vision-Language
    Inference <https://arxiv.org/abs/2407.12442>`_.

    Args:
        keep_residual_and_mlp (bool): See :class:`OtherAttention`. ClearCLIP
            uses False.
    """

    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Apply query-query attention to the values.

        :meth:`OtherAttention.mix` explains the arguments.
        """
        return attend(q, q, v)


@MODELS.register_module()
@dataclass(frozen=True)
class NACLIPBlock(OtherAttention):
    """Last block of NACLIP: key-key attention that favours near patches.

    `Pay Attention to Your Neighbours: Training-Free Open-Vocabulary Semantic
    Segmentation <https://arxiv.org/abs/2404.08181>`_. A Gaussian of the
    distance between two patches, with maximum 1, is added to the attention
    logits.

    Args:
        keep_residual_and_mlp (bool): See :class:`OtherAttention`. NACLIP
            uses False.
        gaussian_std (float): Standard deviation of the Gaussian, in patches.
    """

    gaussian_std: float = 5.0

    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Apply key-key attention with a Gaussian bias to the values.

        :meth:`OtherAttention.mix` explains the arguments.
        """
        bias = gaussian_bias(grid, self.gaussian_std, k.device)
        return attend(k, k, v, bias.to(k.dtype))


def gaussian_bias(
    grid: tuple[int, int], std: float, device: torch.device | None = None
) -> Tensor:
    """Gaussian of the distance between every two patches.

    Args:
        grid (tuple[int, int]): Rows and columns of the N patches.
        std (float): Standard deviation in patches.
        device (torch.device, optional): Device of the result.

    Returns:
        Tensor: Value in [0, 1] for every two tokens, (1 + N, 1 + N) float32.
        The value is 1 for a patch and itself. The first row and the first
        column, which belong to the class token, are 0.
    """
    rows, cols = (
        torch.arange(n, device=device, dtype=torch.float32) for n in grid
    )
    places = torch.cartesian_prod(rows, cols)
    squared = (places[:, None] - places[None]).square().sum(dim=2)
    return F.pad(torch.exp(-squared / (2 * std**2)), (1, 0, 1, 0))
