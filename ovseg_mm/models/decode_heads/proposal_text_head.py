# SPDX-License-Identifier: Apache-2.0
"""Mask proposals that are classified by cosine similarities with class texts.

Letters: B images, Q mask proposals, D decoder outputs that training computes a
loss for (1 in evaluation), n proposals that have an image region (the mask is
not empty), T class texts, C embedding width, H x W pixels.
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
    """Classifies mask proposals and the image regions under their masks.

    This is the base class of :class:`ZSSegHead` and :class:`SCANHead`, which
    implement :meth:`class_weights`. Each proposal can be classified twice:
    from its own embedding, and from CLIP's embedding of the image region under
    its mask.

    Args:
        proposals (dict): Config of the :class:`MaskProposalHead`, with
            ``embedding_channels`` equal to ``text_channels``.
        loss_decode (dict): Config of the :class:`MaskSetLoss`.
        text_channels (int): Width C of the text embeddings.
        temperature (float): Factor by which cosine similarities are
            multiplied, like CLIP's logit scale.
        ensemble_weight (float, optional): Weight in (0, 1] of
            :func:`geometric_ensemble`. A larger weight gives proposals more
            influence on seen classes, and regions more influence on unseen
            classes. 0 or a negative number: the regions alone decide. None:
            the proposals alone decide.
        threshold (float): Threshold of the scores. It is used only for a
            vocabulary with one label and without background words, see
            ``test_cfg.others``. Pixels whose score is at or below the
            threshold become background.
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
                f'ensemble_weight={ensemble_weight} of '
                f'{type(self).__name__} must be at most 1; lower it, or set '
                'None to classify without regions'
            )
        if is_list_of(loss_decode, dict) or not is_type(
            loss_decode, MaskSetLoss, MODELS
        ):
            raise InputError(
                f'loss_decode={loss_decode!r} does not fit '
                f'{type(self).__name__}; set one dict(type='
                "'MaskSetLoss', ...), which computes the losses of classes "
                'and masks and has a weight for each'
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
        """Whether the head needs CLIP's embeddings of image regions."""
        return self.ensemble_weight is not None

    def forward(self, feats: PixelFeatures, text: Tensor) -> MaskPredictions:
        """Compute mask proposals and classify their embeddings.

        Args:
            feats (PixelFeatures): Output of the pixel decoder.
            text (Tensor): Normalised text embeddings of T class texts, (T, 1,
                C).

        Returns:
            MaskPredictions: Class logits of T + 1 classes (the last is ``no
            object``), and mask logits.
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
        """Compute the losses of a batch.

        Args:
            feats (PixelFeatures): Output of the pixel decoder.
            text (Tensor): Normalised text embeddings of T class texts, (T, 1,
                C).
            labels (Tensor): Label maps of the padded images, (B, H, W) int64;
                each label is in [0, T) or ``ignore_index``.
            ignore_index (int): Label of pixels without a class.
            unseen (Sequence[int]): Not used.

        Returns:
            dict[str, Tensor]: Losses by name, from :class:`MaskSetLoss`.
        """
        targets = [mask_targets(label, ignore_index) for label in labels]
        assert self.loss_decode is not None, 'the constructor builds it'
        return self.loss_decode(*self(feats, text), targets)

    def region_logits(self, embeddings: Tensor, text: Tensor) -> Tensor:
        """Classify the image regions under the masks of proposals.

        Args:
            embeddings (Tensor): CLIP's embeddings of n regions, (n, C).
            text (Tensor): Normalised text embeddings of T class texts, (T, 1,
                C).

        Returns:
            Tensor: Class logits, (n, T), without the class ``no object``.
        """
        return self._similarity(embeddings, self.one_prompt(text))

    def _embeddings(
        self, proposals: MaskProposals, feats: PixelFeatures
    ) -> Tensor:
        """Get the embeddings of the proposals, (D, B, Q, C).

        D is the number of decoder outputs. :meth:`forward` compares the
        embeddings with the text embeddings. A sub-class may override this
        method to combine the embeddings with features of the whole image,
        ``feats.context``.
        """
        return proposals.embeddings

    def _similarity(self, embeddings: Tensor, text: Tensor) -> Tensor:
        """Logits (..., T) of embeddings (..., C) for T class texts (T, C)."""
        return cosine_logits(embeddings, text, self.temperature)
