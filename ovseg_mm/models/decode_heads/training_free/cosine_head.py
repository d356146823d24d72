# SPDX-License-Identifier: Apache-2.0
"""Head of training-free methods.

Letters: B views (windows of images), T class texts, P prompts per class, C
embedding width, h x w patches.
"""

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from ovseg_mm.inference import in_float32
from ovseg_mm.structures import CLIPFeatures

from ..base_head import BaseOpenVocabHead


@MODELS.register_module()
class CosineHead(BaseOpenVocabHead):
    """Compares CLIP's patch embeddings with class texts, without parameters.

    The option ``last_block`` of :class:`CLIPViT` decides how patch embeddings
    are computed. The head returns cosine similarities, and the segmentor
    resizes them. If ``test_cfg.logit_scale`` is set, the segmentor multiplies
    them by this scale and applies a softmax over the class texts.

    Args:
        threshold (float): Threshold of the cosine similarities. It is used
            only if the vocabulary has one label and ``test_cfg.logit_scale``
            is None. Pixels whose similarity is at or below the threshold
            become background.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    method = 'CLIP without training'

    def __init__(
        self, threshold: float = 0.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.threshold = threshold

    def forward(self, feats: CLIPFeatures, text: Tensor) -> Tensor:
        """Compute cosine similarities of patches and class texts.

        Args:
            feats (CLIPFeatures): Output of the image tower.
            text (Tensor): Normalised text embeddings of T class texts, P
                prompts and width C, (T, P, C). Prompts are averaged.

        Returns:
            Tensor: Cosine similarities in [-1, 1], (B, T, h, w) float32.
        """
        return _cosines(feats.dense, text)


@in_float32
def _cosines(patches: Tensor, text: Tensor) -> Tensor:
    """Cosines (B, T, h, w) of patches (B, C, h, w) and T texts (T, P, C).

    The text embeddings are first averaged over the P prompts.
    """
    text = F.normalize(text.mean(dim=1), dim=1)
    return torch.einsum('bchw,tc->bthw', F.normalize(patches, dim=1), text)
