# SPDX-License-Identifier: Apache-2.0
"""SCAN's mask head.

Letters: Q mask proposals, T class texts.
"""

from typing import Any

from mmseg.registry import MODELS
from torch import Tensor

from ovseg_mm.inference import (
    geometric_ensemble,
    region_weights,
    with_no_object,
)
from ovseg_mm.structures import MaskProposals, PixelFeatures

from ..proposal_text_head import ProposalTextHead
from .semantic_integration import SemanticIntegration


@MODELS.register_module()
class SCANHead(ProposalTextHead):
    """Mask head of SCAN.

    `Open-Vocabulary Segmentation with Semantic-Assisted Calibration
    <https://arxiv.org/abs/2312.04089>`_. CLIP's features of the whole image
    are added to the embeddings of the mask proposals. The classes are decided
    by these embeddings and by CLIP's embeddings of the image regions under the
    masks. If all masks of an image are empty, there are no image regions, and
    the embeddings of the proposals alone decide the classes.

    Args:
        integration (dict, optional): Arguments of
            :class:`SemanticIntegration`, which adds CLIP's features. None:
            no features are added.
        keep_no_object (bool): Whether the class weights of each proposal and
            its probability of ``no object`` are normalised together, so that
            their sum is 1; see :func:`with_no_object`. Useful for
            vocabularies with hundreds of classes.
        **kwargs: Arguments of :class:`ProposalTextHead`.
    """

    method = 'SCAN'

    def __init__(
        self,
        *,
        integration: dict | None = None,
        keep_no_object: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.integration = None
        if integration is not None:
            self.integration = SemanticIntegration(**integration)
        self.keep_no_object = keep_no_object

    @property
    def context_blocks(self) -> tuple[int, ...]:
        """Indices, counted from 0, of the CLIP blocks that the head needs."""
        return self.integration.blocks if self.integration else ()

    def class_weights(
        self,
        class_logits: Tensor,
        region_logits: Tensor | None = None,
        valid: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        """Compute the weights (Q, T) of Q proposals for T class texts.

        :meth:`BaseMaskHead.class_weights` explains the arguments. ``seen`` is
        not used.
        """
        probs = class_logits.float().softmax(dim=1)
        weight = self.ensemble_weight
        if weight is None or valid is None or not valid.any():
            return probs[:, :-1]
        assert region_logits is not None
        region_probs = region_logits.float().softmax(dim=1)
        if weight <= 0:
            return region_weights(region_probs, valid)
        # SCAN has one weight for all classes, seen or not.
        weights = geometric_ensemble(
            probs[:, :-1], region_probs, valid, weight
        )
        if self.keep_no_object:
            weights = with_no_object(weights, probs[:, -1])
        return weights

    def _embeddings(
        self, proposals: MaskProposals, feats: PixelFeatures
    ) -> Tensor:
        if self.integration is None:
            return proposals.embeddings
        return self.integration(proposals.embeddings, feats.context)
