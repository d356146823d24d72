# SPDX-License-Identifier: Apache-2.0
"""Mask proposals compared with texts by scaled cosines.

Letters: B images, Q queries, D supervised decoder states, n valid proposals
(they have a region), T class texts, P prompts per class, C embedding width, h,
w positions at stride 4, H, W pixels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.utils import is_list_of
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.structures import MaskPredictions, MaskProposals, PixelFeatures
from ovseg_mm.utils.config_types import is_type
from ovseg_mm.utils.errors import InputError

from ..losses import MaskSetLoss
from ..utils import cosine_logits, mask_targets
from .base_head import BaseMaskHead


class ProposalTextHead(BaseMaskHead):
    """Proposals and their regions, compared with class texts.

    Base of :class:`ZSSegHead` and :class:`SCANHead`, which implement
    :meth:`class_weights`.

    Args:
        proposals (dict): Config of the :class:`MaskProposalHead`, whose
            embeddings have C channels.
        loss_decode (dict): Config of the :class:`MaskSetLoss`.
        text_channels (int): C.
        temperature (float): Factor of cosine similarities.
        ensemble_weight (float, optional): Weight a of
            :func:`geometric_ensemble`; a larger a gives proposals more
            influence on seen classes and regions more on unseen classes. 0
            or less: only regions decide. None: only proposals decide.
        threshold (float): Score that a pixel must exceed if the vocabulary
            has one text only and no background words are scored.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    compares_texts = True

    def __init__(
        self,
        proposals: dict,
        loss_decode: dict,
        text_channels: int = 512,
        temperature: float = 100.0,
        ensemble_weight: float | None = 0.8,
        threshold: float = 0.5,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if ensemble_weight is not None and not ensemble_weight <= 1:
            raise ValueError(
                f'ensemble_weight={ensemble_weight} must be at most 1, or '
                'None to use no regions'
            )
        if is_list_of(loss_decode, dict) or not is_type(
            loss_decode, MaskSetLoss, MODELS
        ):
            raise InputError(
                f'loss_decode of a {type(self).__name__} is one '
                "dict(type='MaskSetLoss', ...), which holds the losses of "
                'classes and masks; set its weights instead of other losses'
            )
        self.proposals = MODELS.build(proposals)
        self.loss_decode = MODELS.build(loss_decode)
        self.temperature = temperature
        self.ensemble_weight = ensemble_weight
        self.threshold = threshold
        self.no_object_embedding = nn.Parameter(
            torch.randn(1, text_channels) * text_channels**-0.5
        )

    @property
    def uses_regions(self) -> bool:
        """Whether regions take part in the decision."""
        return self.ensemble_weight is not None

    def forward(self, feats: PixelFeatures, text: Tensor) -> MaskPredictions:
        """Propose and classify.

        Args:
            feats (PixelFeatures): Output of the pixel decoder.
            text (Tensor): Text embeddings, (T, 1, C), normalised.

        Returns:
            MaskPredictions: Proposals with class logits.
        """
        proposals = self.proposals(feats)
        embeddings = self._embeddings(proposals, feats)
        text = torch.cat(
            [
                self.one_prompt(text),
                F.normalize(self.no_object_embedding, dim=1),
            ]
        )
        return MaskPredictions(
            self._similarity(embeddings, text), proposals.masks
        )

    def loss(
        self,
        feats: PixelFeatures,
        text: Tensor,
        labels: Tensor,
        ignore_index: int = 255,
        unseen: Sequence[int] = (),
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            feats (PixelFeatures): Output of the pixel decoder.
            text (Tensor): Text embeddings, (T, 1, C), normalised.
            labels (Tensor): Label maps, (B, H, W) int64, over the whole input.
            ignore_index (int): Label of pixels without a class.
            unseen (Sequence[int]): Empty; the head does not learn them.

        Returns:
            dict[str, Tensor]: See :class:`MaskSetLoss`.
        """
        targets = [mask_targets(label, ignore_index) for label in labels]
        assert self.loss_decode is not None, 'the constructor builds it'
        return self.loss_decode(*self(feats, text), targets)

    def region_logits(self, embeddings: Tensor, text: Tensor) -> Tensor:
        """Classify regions.

        Args:
            embeddings (Tensor): CLIP's embeddings of regions, (n, C).
            text (Tensor): Text embeddings, (T, 1, C), normalised.

        Returns:
            Tensor: (n, T); without the class ``no object``.
        """
        return self._similarity(embeddings, self.one_prompt(text))

    def _embeddings(
        self, proposals: MaskProposals, feats: PixelFeatures
    ) -> Tensor:
        """Embeddings to compare with texts, (D, B, Q, C)."""
        return proposals.embeddings

    def _similarity(self, embeddings: Tensor, text: Tensor) -> Tensor:
        """Scaled cosines (..., T) of embeddings (..., C) and unit texts."""
        return cosine_logits(embeddings, text, self.temperature)
