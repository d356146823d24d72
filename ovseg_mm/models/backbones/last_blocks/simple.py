# SPDX-License-Identifier: Apache-2.0
"""Last blocks whose attention is replaced.

Letters: B windows, A heads, d width of a head, N patches, D = A * d width of
the transformer.
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
    """The last block with :meth:`mix` instead of its attention.

    Args:
        keep_residual_and_mlp (bool): Whether the token's own residual is
            added and the MLP follows, as in CLIP; otherwise the attention's
            output alone is given.
    """

    keep_residual_and_mlp: bool = False

    @abstractmethod
    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Values after attention.

        Args:
            q (Tensor): Queries, (B, A, 1 + N, d), class token first.
            k (Tensor): Keys, (B, A, 1 + N, d).
            v (Tensor): Values, (B, A, 1 + N, d).
            grid (tuple[int, int]): Rows and columns of patches.

        Returns:
            Tensor: (B, A, 1 + N, d).
        """

    def __call__(
        self,
        blocks: nn.ModuleList,
        tokens: Mapping[int, Tensor],
        grid: tuple[int, int],
    ) -> Tensor:
        """See :class:`LastBlock`."""
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
    """Each token attends to itself alone.

    `Extract Free Dense Labels from CLIP <https://arxiv.org/abs/2112.01071>`_.

    Args:
        keep_residual_and_mlp (bool): See :class:`OtherAttention`. True is
            MaskCLIP. False is better on images of scenes and worse on
            images of single objects.
        give_keys (bool): Whether the features hold the block's keys, which
            the key smoothing of :class:`MaskCLIPHead` needs.
    """

    keep_residual_and_mlp: bool = True
    give_keys: bool = False

    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Return the values unchanged."""
        return v

    def keys(
        self, blocks: nn.ModuleList, tokens: Mapping[int, Tensor]
    ) -> Tensor | None:
        """Keys of patches after the output projection, (B, N, D)."""
        if not self.give_keys:
            return None
        block: Any = blocks[-1]  # a CLIPBlock, perhaps wrapped
        patches = tokens[len(blocks) - 2][:, 1:]
        (k,) = block.attn.heads(block.ln_1(patches), 'k')
        return block.attn.merge(k)


@MODELS.register_module()
@dataclass(frozen=True)
class SCLIPBlock(OtherAttention):
    """Queries attend to queries and keys to keys; the two are added.

    `SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference
    <https://arxiv.org/abs/2312.01597>`_. Rows of the attention sum to 2.

    Args:
        keep_residual_and_mlp (bool): See :class:`OtherAttention`.
    """

    keep_residual_and_mlp: bool = True

    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """See :class:`OtherAttention`."""
        return attend(q, q, v) + attend(k, k, v)


@MODELS.register_module()
@dataclass(frozen=True)
class ClearCLIPBlock(OtherAttention):
    """Queries attend to queries.

    `ClearCLIP: Decomposing CLIP Representations for Dense Vision-Language
    Inference <https://arxiv.org/abs/2407.12442>`_.
    """

    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """See :class:`OtherAttention`."""
        return attend(q, q, v)


@MODELS.register_module()
@dataclass(frozen=True)
class NACLIPBlock(OtherAttention):
    """Keys attend to keys; near ones have more weight.

    `Pay Attention to Your Neighbours: Training-Free Open-Vocabulary Semantic
    Segmentation <https://arxiv.org/abs/2404.08181>`_.

    Args:
        keep_residual_and_mlp (bool): See :class:`OtherAttention`.
        gaussian_std (float): Standard deviation, in patches, of the Gaussian
            of height 1 that is added before the softmax.
    """

    gaussian_std: float = 5.0

    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """See :class:`OtherAttention`."""
        bias = gaussian_bias(grid, self.gaussian_std, k.device)
        return attend(k, k, v, bias.to(k.dtype))


def gaussian_bias(
    grid: tuple[int, int], std: float, device: torch.device | None = None
) -> Tensor:
    """Gaussian of the distance between patches.

    Args:
        grid (tuple[int, int]): Rows and columns of patches.
        std (float): Standard deviation in patches.
        device (torch.device, optional): Device of the result.

    Returns:
        Tensor: (1 + N, 1 + N) float32, 1 on the diagonal of patches, 0 where
        one of the two is the class token, which comes first.
    """
    rows, cols = (
        torch.arange(n, device=device, dtype=torch.float32) for n in grid
    )
    places = torch.cartesian_prod(rows, cols)
    squared = (places[:, None] - places[None]).square().sum(dim=2)
    return F.pad(torch.exp(-squared / (2 * std**2)), (1, 0, 1, 0))
