# SPDX-License-Identifier: Apache-2.0
"""The per-pixel baseline of ZSSeg, without mask proposals.

Letters: B images, T class texts, P prompts per class, C embedding width, h x w
positions at stride 4, H x W pixels.
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
    """Compares an embedding of each pixel with class texts.

    This is the per-pixel baseline of ZSSeg. It has MaskFormer's backbone and
    pixel decoder, and one linear layer instead of queries.

    Args:
        loss_decode (dict | Sequence[dict]): Config of one or several losses
            between logits and labels.
        in_channels (int): Channels of the pixel decoder's mask features.
        text_channels (int): Width C of the text embeddings.
        temperature (float): Factor by which cosine similarities are multiplied
            in training, like CLIP's logit scale.
        threshold (float): Threshold of the scores. It is used only for a
            vocabulary with one label and without background words, see
            ``test_cfg.others``. Pixels whose score is at or below the
            threshold become background.
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
        """Score each pixel by inner products with the text embeddings.

        Embeddings of pixels are not normalised. The norm of an embedding does
        not change the best class of its pixel. But when scores are resized,
        pixels with larger norms have more influence.

        Args:
            feats (PixelFeatures): Output of the pixel decoder.
            text (Tensor): Normalised text embeddings of T class texts, P
                prompts and width C, (T, P, C). Prompts are averaged.

        Returns:
            Tensor: Scores, (B, T, h, w).
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
        """Compute the losses of a batch.

        The logits are cosine similarities multiplied by ``temperature``.
        :meth:`BaseOpenVocabHead.loss` explains the arguments and the result.
        """
        pixels = self.projection(feats.mask_features)
        features = F.normalize(pixels.float(), dim=1)
        logits = _products(features, text)
        height, width = labels.shape[1:]
        logits = resize(self.temperature * logits, (height, width))
        return self.dense_losses(logits, labels, ignore_index)


@in_float32
def _products(pixels: Tensor, text: Tensor) -> Tensor:
    """Inner products (B, T, h, w) of pixels (B, C, h, w) and texts (T, P, C).

    The text embeddings are first averaged over the P prompts.
    """
    return torch.einsum('bchw,tc->bthw', pixels, text.mean(dim=1))
