# SPDX-License-Identifier: Apache-2.0
"""Class-agnostic mask proposals, a part of all mask methods.

Letters: B images, Q queries, D supervised decoder states of a query (in
evaluation only 1), C width of the decoder, E width of the embeddings, h, w
positions at stride 4.
"""

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from ovseg_mm.structures import MaskProposals, PixelFeatures
from ovseg_mm.utils.resize import resize

from ..layers import mlp


@MODELS.register_module()
class MaskProposalHead(BaseModule):
    """Masks and embeddings from query states, without classes.

    The head of a method owns one of these and adds its classifier.

    Args:
        decoder (dict): Config of the transformer decoder, see
            :mod:`ovseg_mm.models.layers.query_decoder`; it has
            ``embed_dims``.
        mask_channels (int): Channels of the pixel decoder's mask features.
        embedding_channels (int): E.
        hidden_channels (int): Hidden width of the embedding's MLP.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    def __init__(
        self,
        decoder: dict,
        mask_channels: int = 256,
        embedding_channels: int = 512,
        hidden_channels: int = 1024,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.decoder = MODELS.build(decoder)
        width = self.decoder.embed_dims
        self.mask_embed = mlp((width, width, width, mask_channels))
        self.class_embed = mlp((width, hidden_channels, embedding_channels))

    def forward(self, feats: PixelFeatures) -> MaskProposals:
        """Propose masks.

        Args:
            feats (PixelFeatures): Output of the pixel decoder.

        Returns:
            MaskProposals: The proposals of the batch.
        """
        resized: dict[tuple[int, int], Tensor] = {}

        def masks_of(states: Tensor, size: tuple[int, int]) -> Tensor:
            # The product is linear: resizing the features once is enough.
            if size not in resized:
                resized[size] = resize(feats.mask_features, size)
            return self.mask_logits(states, resized[size])

        states = self.decoder(feats.maps, masks_of)
        return MaskProposals(
            self.class_embed(states),
            self.mask_logits(states, feats.mask_features),
        )

    def mask_logits(self, states: Tensor, mask_features: Tensor) -> Tensor:
        """Mask logits (..., B, Q, h, w) of states (..., B, Q, C)."""
        vectors = self.mask_embed(states)
        return torch.einsum('...bqc,bchw->...bqhw', vectors, mask_features)
