# SPDX-License-Identifier: Apache-2.0
"""Head of training-free methods.

Letters: B views, T class texts, P prompts per class, C embedding width, h, w
patches.
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
    """Cosines of CLIP's patch embeddings and class texts; no parameters.

    The option ``last_block`` of :class:`CLIPViT` decides how the patch
    embeddings are made. Cosines become probabilities after all resizing, with
    ``test_cfg.logit_scale`` of the segmentor.

    Args:
        threshold (float): Cosine that a pixel must exceed if the vocabulary
            has one text only and ``test_cfg.logit_scale`` is None.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    method = 'CLIP without training'

    def __init__(
        self, threshold: float = 0.0, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.threshold = threshold

    def forward(self, feats: CLIPFeatures, text: Tensor) -> Tensor:
        """Cosines in [-1, 1].

        Args:
            feats (CLIPFeatures): Output of the image tower.
            text (Tensor): Text embeddings, (T, P, C), normalised; prompts are
                averaged.

        Returns:
            Tensor: (B, T, h, w) float32.
        """
        return _cosines(feats.dense, text)


@in_float32
def _cosines(patches: Tensor, text: Tensor) -> Tensor:
    """Cosines of patches (B, C, h, w) and mean prompts of (T, P, C)."""
    text = F.normalize(text.mean(dim=1), dim=1)
    return torch.einsum('bchw,tc->bthw', F.normalize(patches, dim=1), text)
