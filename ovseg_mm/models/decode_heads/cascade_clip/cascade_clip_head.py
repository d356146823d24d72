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
    """Cascaded text-image matching of Cascade-CLIP.

    `Cascaded Vision-Language Embeddings Alignment for Zero-Shot Semantic
    Segmentation <https://arxiv.org/abs/2406.00670>`_.

    The patch embeddings after several blocks of CLIP are called levels.

    1. Neighbouring levels form groups. Each group becomes one feature map, a
       weighted sum of its levels (neighbourhood Gaussian aggregation). Weights
       are learned, starting from a Gaussian of the distance to the deepest
       level of the group.
    2. There is one query for each class text: the product of the image's class
       embedding and the text embedding, joined with the text embedding
       (relationship descriptor).
    3. The decoder of each group matches the queries with the feature map. The
       logits of all decoders are added.

    Args:
        embed_dims (int): Embedding width C.
        group_sizes (Sequence[int]): Number of levels of each group, from
            shallow to deep levels. A group of one level has no weights.
        num_layers (int): Layers of each decoder.
        num_heads (int): Heads of the attention.
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
            feats (LevelFeatures): Patch embeddings of
                ``sum(group_sizes)`` levels, and the class embedding.
            text (Tensor): Embeddings of T class texts, (T, 1, C).

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
        """Turn logits (t, H, W) into scores by a sigmoid, in place."""
        return logits.sigmoid_()

    def _aggregate(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Weighted sum (B, C, h, w) of the levels of each group."""
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
    """Initial weights ``exp(-d**2 / 2)`` of the levels of a group, (size,).

    d is the distance of a level to the last level of the group.
    """
    distance = torch.arange(size - 1, -1, -1, dtype=torch.float32)
    return torch.exp(-(distance**2) / 2)


def relationship_descriptor(cls: Tensor, text: Tensor) -> Tensor:
    """Concatenate ``cls * text`` and ``text`` for each image and class text.

    Args:
        cls (Tensor): Class embeddings of the images, (B, C).
        text (Tensor): Embeddings of T class texts, (T, C).

    Returns:
        Tensor: Product, then text embedding, of each image and class text,
        (B, T, 2C).
    """
    product = cls[:, None] * text
    return torch.cat([product, text.expand_as(product)], dim=-1)
