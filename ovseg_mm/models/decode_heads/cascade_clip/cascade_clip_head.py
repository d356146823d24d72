# SPDX-License-Identifier: Apache-2.0
"""Cascade-CLIP's decode head.

Letters: B images or windows, T classes, P prompts per class, C embedding
width, h, w patches, N = h * w.
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

    Neighbouring levels of an image form groups, and the levels of a group are
    summed (neighbourhood Gaussian aggregation: learned weights that begin as a
    Gaussian of the distance to the deepest level of the group). Each group has
    a decoder that matches its sum with the class queries; the logits of all
    decoders are added. A query is the relationship descriptor of text and
    image: the product of the class embedding of the image and the text
    embedding, followed by the text embedding.

    Args:
        embed_dims (int): C.
        group_sizes (Sequence[int]): Number of levels of each group, shallow
            to deep. A group of one level has no weights.
        num_layers (int): Layers of each decoder.
        num_heads (int): Heads of the attention.
        dropout (float): Share of activations that decoders zero in training.
        loss_decode (dict | Sequence[dict], optional): Config of a loss, or of
            several. None: focal and dice loss as published.
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
        """Logits of every class.

        Args:
            feats (LevelFeatures): Image side, as many levels as the groups
                take.
            text (Tensor): Text embeddings, (T, 1, C).

        Returns:
            Tensor: (B, T, h, w).
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
        """Sigmoid of the logits, in place."""
        return logits.sigmoid_()

    def _aggregate(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """One map (B, C, h, w) per group."""
        if len(levels) != sum(self.group_sizes):
            raise InputError(
                f'group_sizes={self.group_sizes} take '
                f'{sum(self.group_sizes)} levels, found {len(levels)}; the '
                "levels are the backbone's out_indices and its output"
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
    """``exp(-d**2 / 2)`` for the distance d to the last of ``size`` levels."""
    distance = torch.arange(size - 1, -1, -1, dtype=torch.float32)
    return torch.exp(-(distance**2) / 2)


def relationship_descriptor(cls: Tensor, text: Tensor) -> Tensor:
    """Class queries, (B, C) of images and (T, C) of texts to (B, T, 2C)."""
    product = cls[:, None] * text
    return torch.cat([product, text.expand_as(product)], dim=-1)
