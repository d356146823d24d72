# SPDX-License-Identifier: Apache-2.0
"""Head with prompt denoising and key smoothing, as in MaskCLIP's repository.

Letters: B views (windows of images), T class texts, C embedding width, D width
of the image tower, h x w patches, N = h * w.
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from ovseg_mm.inference import in_float32
from ovseg_mm.structures import CLIPFeatures
from ovseg_mm.utils.errors import InputError

from .cosine_head import CosineHead

SCALE = 100.0
ABSENT = -100.0


@MODELS.register_module()
class MaskCLIPHead(CosineHead):
    """Cosine head with MaskCLIP's prompt denoising and key smoothing.

    `Extract Free Dense Labels from CLIP <https://arxiv.org/abs/2112.01071>`_.
    Denoising and smoothing use the class probabilities of each patch: a
    softmax, over all class texts, of 100 times the cosine similarities.

    Args:
        denoise_below (float, optional): Threshold of prompt denoising. A class
            text whose probability is below the threshold at all patches of a
            view gets the score -100 in this view. MaskCLIP's ``pd_thresh`` is
            0.5. None: no denoising.
        smooth_below (float, optional): Threshold of key smoothing. If the
            largest probability of a patch is below the threshold, all
            probabilities of this patch are replaced by a weighted sum of the
            probabilities of all patches. The weights are the similarities of
            the attention keys of the patches. With key smoothing, the head
            returns probabilities instead of cosine similarities. MaskCLIP's
            ``ks_thresh`` is 1.0. Needs the backbone option
            ``last_block=dict(type='MaskCLIPBlock', give_keys=True)``. None:
            no smoothing.
        **kwargs: Arguments of :class:`CosineHead`.
    """

    method = 'MaskCLIP'

    def __init__(
        self,
        denoise_below: float | None = None,
        smooth_below: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.denoise_below = denoise_below
        self.smooth_below = smooth_below

    def forward(self, feats: CLIPFeatures, text: Tensor) -> Tensor:
        """Compute the scores (B, T, h, w) of T class texts at all patches.

        The scores are cosine similarities, changed by prompt denoising and key
        smoothing. :meth:`CosineHead.forward` explains the arguments.
        """
        scores = super().forward(feats, text)
        if self.denoise_below is not None:
            probs = (SCALE * scores).softmax(dim=1)
            absent = probs.amax(dim=(2, 3)) < self.denoise_below
            scores = scores.masked_fill(absent[..., None, None], ABSENT)
        if self.smooth_below is not None:
            scores = self._smooth(scores, feats.keys)
        return scores

    @in_float32
    def _smooth(self, scores: Tensor, keys: Tensor | None) -> Tensor:
        if keys is None:
            raise InputError(
                'smooth_below of MaskCLIPHead needs attention keys, but the '
                'backbone returns none; set backbone.last_block='
                "dict(type='MaskCLIPBlock', give_keys=True)"
            )
        assert self.smooth_below is not None, 'see forward'
        probs = (SCALE * scores).softmax(dim=1)
        # As published, each channel is divided by its norm, not each patch.
        keys = F.normalize(keys.flatten(2), dim=2)  # (B, D, N)
        spread = (probs.flatten(2) @ keys.transpose(1, 2)) @ keys
        unsure = probs.amax(dim=1, keepdim=True) < self.smooth_below
        return torch.where(unsure, spread.view_as(probs), probs)
