# SPDX-License-Identifier: Apache-2.0
"""Cascade-CLIP's decode head.

Letters: B images or windows, T class texts, C embedding width, h x w patches,
N = h * w.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.structures import LevelFeatures
from ovseg_mm.utils.errors import InputError

from ..base_head import BaseOpenVocabHead
from .matching import MatchingDecoder


@MODELS.register_module()
class CascadeCLIPHead(BaseOpenVocabHead):
    """Decode head of Cascade-CLIP, for the outputs of several CLIP blocks.

    `Cascaded Vision-Language Embeddings Alignment for Zero-Shot Semantic
    Segmentation <https://arxiv.org/abs/2406.00670>`_.

    The head uses the patch embeddings after several CLIP blocks. The patch
    embeddings after one block are called a level.

    1. Neighbouring levels form groups. Each group becomes one feature map, the
       weighted sum of its levels (neighbourhood Gaussian aggregation). The
       weights are learned; :func:`gaussian_weights` gives the initial weights.
    2. For each class text, two vectors are concatenated (relationship
       descriptor): the text embedding times the embedding of the image's class
       token, and the text embedding itself.
    3. Each group has a linear layer and a decoder. The linear layer turns the
       concatenated vectors into queries, and the decoder matches the queries
       with the feature map. The logits of all decoders are added.

    Args:
        embed_dims (int): Embedding width C.
        group_sizes (Sequence[int]): Number of levels in each group, from
            shallow to deep levels. A group of one level has no weights.
        num_layers (int): Number of layers of each decoder.
        num_heads (int): Number of attention heads.
        dropout (float): Dropout probability in the decoders.
        loss_decode (dict | Sequence[dict], optional): Config of one or several
            losses. None: the published focal and dice losses.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    method = 'Cascade-CLIP'
    learns_unseen = True
    threshold = 0.5
    with_accuracy = True

    def __init__(
        self,
        embed_dims: int,
        group_sizes: Sequence[int] = (3, 3, 1),
        num_layers: int = 3,
        num_heads: int = 8,
        dropout: float = 0.1,
        loss_decode: dict | Sequence[dict] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            loss_decode
            or [
                dict(type='DenseFocalLoss', loss_weight=100.0),
                dict(type='DenseDiceLoss'),
            ],
            init_cfg,
        )
        self.group_sizes = tuple(group_sizes)
        self.level_weights = nn.ParameterList(
            nn.Parameter(gaussian_weights(size))
            for size in self.group_sizes
            if size > 1
        )
        self.query_projections = nn.ModuleList(
            nn.Linear(2 * embed_dims, embed_dims) for _ in self.group_sizes
        )
        self.decoders = nn.ModuleList(
            MatchingDecoder(embed_dims, num_layers, num_heads, dropout)
            for _ in self.group_sizes
        )

    def forward(self, feats: LevelFeatures, text: Tensor) -> Tensor:
        """Compute the logits of all class texts.

        Args:
            feats (LevelFeatures): Patch embeddings of ``sum(group_sizes)``
                levels, and embeddings of the class tokens.
            text (Tensor): Embeddings of T class texts with one prompt each,
                (T, 1, C).

        Returns:
            Tensor: Logits, (B, T, h, w).
        """
        text = self.one_prompt(text).to(feats.cls.dtype)
        # Features are in float32, the weights possibly in half precision.
        first: Any = self.decoders[0]
        dtype = first.dtype
        descriptor = relationship_descriptor(feats.cls, text).to(dtype)
        logits: Any = sum(
            decoder(
                project(descriptor),
                group.flatten(2).transpose(1, 2).to(dtype),
            )
            for decoder, project, group in zip(
                self.decoders,
                self.query_projections,
                self._aggregate(feats.levels),
            )
        )
        return logits.unflatten(2, feats.levels[-1].shape[2:])

    def activate(self, logits: Tensor) -> Tensor:
        """Apply a sigmoid in place to logits (t, H, W) of t class texts."""
        return logits.sigmoid_()

    def _aggregate(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Weighted sum of the levels of each group, (B, C, h, w) per group."""
        if len(levels) != sum(self.group_sizes):
            raise InputError(
                f'group_sizes={self.group_sizes} of CascadeCLIPHead need '
                f'{sum(self.group_sizes)} levels, but there are '
                f'{len(levels)}; the levels are the blocks of '
                'backbone.out_indices and the final output, so change '
                'group_sizes or out_indices'
            )
        weights = iter(self.level_weights)
        remaining = iter(levels)
        groups: list[Any] = []
        for size in self.group_sizes:
            members = [next(remaining) for _ in range(size)]
            if size > 1:
                members = [
                    weight * level
                    for weight, level in zip(next(weights), members)
                ]
            groups.append(sum(members))
        return groups


def gaussian_weights(size: int) -> Tensor:
    """Initial weights ``exp(-d**2 / 2)`` of a group of CLIP blocks, (size,).

    The group has ``size`` blocks, from shallow to deep. d is the distance of a
    block to the last block of the group: 0 for the last block, 1 for the block
    before it.
    """
    distance = torch.arange(size - 1, -1, -1, dtype=torch.float32)
    return torch.exp(-(distance**2) / 2)


def relationship_descriptor(cls: Tensor, text: Tensor) -> Tensor:
    """Concatenate ``cls * text`` and ``text`` for each image and class text.

    Args:
        cls (Tensor): Embeddings of the class tokens of B images, (B, C).
        text (Tensor): Embeddings of T class texts, (T, C).

    Returns:
        Tensor: Relationship descriptors, (B, T, 2C): first the product, then
        the text embedding.
    """
    product = cls[:, None] * text
    return torch.cat([product, text.expand_as(product)], dim=-1)
