# SPDX-License-Identifier: Apache-2.0
"""Class-agnostic mask proposals, which all mask heads use.

Letters: B images, Q queries, D decoder outputs that training computes a loss
for (1 in evaluation), C width of the decoder, E width of the embeddings, h x w
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
    """Computes mask proposals and their embeddings, without classes.

    A transformer decoder computes the states of Q learned queries from the
    features of an image. One MLP turns each state into a vector, whose product
    with the mask features is a mask. Another MLP turns each state into an
    embedding. A :class:`ProposalTextHead` classifies the embeddings.

    Args:
        decoder (dict): Config of the transformer decoder, a
            :class:`MaskFormerDecoder` or :class:`MaskedAttentionDecoder`.
        mask_channels (int): Channels of the pixel decoder's mask features.
        embedding_channels (int): Width E of the embeddings.
        hidden_channels (int): Hidden width of the MLP of the embeddings.
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
        """Compute mask proposals.

        Args:
            feats (PixelFeatures): Output of the pixel decoder.

        Returns:
            MaskProposals: Embeddings and mask logits of Q proposals per image.
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
        """Compute mask logits from query states.

        Args:
            states (Tensor): States of Q queries of width C, (..., B, Q, C).
            mask_features (Tensor): Features of the pixels, (B, mask_channels,
                h, w).

        Returns:
            Tensor: Mask logits, (..., B, Q, h, w).
        """
        vectors = self.mask_embed(states)
        return torch.einsum('...bqc,bchw->...bqhw', vectors, mask_features)
