# SPDX-License-Identifier: Apache-2.0
"""Prompt denoising and key smoothing, as in MaskCLIP's repository.

Letters: B views, T class texts, C embedding width, D width of the image
tower, h, w patches, N = h * w.
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
    """Cosines with prompt denoising and key smoothing.

    `Extract Free Dense Labels from CLIP <https://arxiv.org/abs/2112.01071>`_.
    p is the softmax over texts of 100 x score, at each patch of a view.

    Args:
        denoise_below (float, optional): Prompt denoising: texts whose largest
            p in a view is below this value get the score -100. MaskCLIP's
            ``pd_thresh``, 0.5.
        smooth_below (float, optional): Key smoothing: where the largest p is
            below this value, p becomes a sum over all patches, weighted by
            the products of their keys; all scores are then p. MaskCLIP's
            ``ks_thresh``, 1.0. Needs ``last_block=dict(type='MaskCLIPBlock',
            give_keys=True)``.
        **kwargs: See :class:`CosineHead`.
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
        """See :class:`CosineHead`; after both corrections."""
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
                'smooth_below of MaskCLIPHead needs the keys of the last '
                "block; set last_block=dict(type='MaskCLIPBlock', "
                'give_keys=True) of the backbone'
            )
        assert self.smooth_below is not None, 'see forward'
        probs = (SCALE * scores).softmax(dim=1)
        # As published, each channel is divided by its norm, not each patch.
        keys = F.normalize(keys.flatten(2), dim=2)  # (B, D, N)
        spread = (probs.flatten(2) @ keys.transpose(1, 2)) @ keys
        unsure = probs.amax(dim=1, keepdim=True) < self.smooth_below
        return torch.where(unsure, spread.view_as(probs), probs)
