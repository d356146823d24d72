# SPDX-License-Identifier: Apache-2.0
"""The per-pixel baseline, without mask proposals.

Letters: B images, T class texts, C embedding width, h, w positions at stride
4, H, W pixels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.inference import in_float32
from ovseg_mm.structures import PixelFeatures
from ovseg_mm.utils.resize import resize

from .base_head import BaseOpenVocabHead


@MODELS.register_module()
class PixelTextHead(BaseOpenVocabHead):
    """Compare each pixel's embedding with the texts.

    The per-pixel baseline of ZSSeg: MaskFormer's backbone and pixel decoder,
    and one linear layer instead of queries.

    Args:
        loss_decode (dict | Sequence[dict]): Config of a loss of logits and
            labels, or of several.
        in_channels (int): Channels of the pixel decoder's mask features.
        text_channels (int): C.
        temperature (float): Factor of cosine similarities in training.
        threshold (float): Score that a pixel must exceed if the vocabulary
            has one text only and no background words are scored.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    method = 'ZSSeg'
    compares_texts = True

    def __init__(
        self,
        loss_decode: dict | Sequence[dict],
        in_channels: int = 256,
        text_channels: int = 512,
        temperature: float = 100.0,
        threshold: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_decode, init_cfg)
        self.projection = nn.Conv2d(in_channels, text_channels, 1)
        self.temperature = temperature
        self.threshold = threshold

    def forward(self, feats: PixelFeatures, text: Tensor) -> Tensor:
        """Scores of pixels.

        They are cosine similarities times the norm of the pixel's embedding.
        The norm does not change the best class of a pixel, but it weighs
        pixels when scores are resized.

        Args:
            feats (PixelFeatures): Output of the pixel decoder.
            text (Tensor): Text embeddings, (T, P, C), normalised; prompts are
                averaged.

        Returns:
            Tensor: (B, T, h, w).
        """
        return _products(self.projection(feats.mask_features), text)

    def loss(
        self,
        feats: PixelFeatures,
        text: Tensor,
        labels: Tensor,
        ignore_index: int = 255,
        unseen: Sequence[int] = (),
    ) -> dict[str, Tensor]:
        """Losses of scaled cosines, see :meth:`BaseOpenVocabHead.loss`."""
        pixels = self.projection(feats.mask_features)
        features = F.normalize(pixels.float(), dim=1)
        logits = _products(features, text)
        height, width = labels.shape[1:]
        logits = resize(self.temperature * logits, (height, width))
        return self.dense_losses(logits, labels, ignore_index)


@in_float32
def _products(pixels: Tensor, text: Tensor) -> Tensor:
    """Products (B, T, h, w) of pixels (B, C, h, w) and texts (T, P, C).

    The texts are averaged over P first.
    """
    return torch.einsum('bchw,tc->bthw', pixels, text.mean(dim=1))
