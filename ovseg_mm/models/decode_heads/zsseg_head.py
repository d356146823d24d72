# SPDX-License-Identifier: Apache-2.0
"""ZSSeg's mask head.

Letters: Q mask proposals, T class texts.
"""

from mmseg.registry import MODELS
from torch import Tensor

from ovseg_mm.inference import geometric_ensemble, region_weights

from .base_head import object_probs
from .proposal_text_head import ProposalTextHead


@MODELS.register_module()
class ZSSegHead(ProposalTextHead):
    """Mask head of ZSSeg.

    `A Simple Baseline for Open-Vocabulary Semantic Segmentation with
    Pre-trained Vision-language Model <https://arxiv.org/abs/2112.14757>`_.
    The class probabilities of a proposal are computed twice: from its own
    embedding, and from CLIP's embedding of the image region under its mask.
    :func:`geometric_ensemble` combines the two results.
    :class:`ProposalTextHead` explains the arguments.
    """

    method = 'ZSSeg'

    def class_weights(
        self,
        class_logits: Tensor,
        region_logits: Tensor | None = None,
        valid: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        """Compute the weights (Q, T) of Q proposals for T class texts.

        :meth:`BaseMaskHead.class_weights` explains the arguments.
        """
        probs = object_probs(class_logits)
        if self.ensemble_weight is None:
            return probs
        assert region_logits is not None and valid is not None
        region_probs = region_logits.float().softmax(dim=1)
        if self.ensemble_weight <= 0:
            return region_weights(region_probs, valid)
        return geometric_ensemble(
            probs, region_probs, valid, self.ensemble_weight, seen
        )
