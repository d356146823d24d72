# SPDX-License-Identifier: Apache-2.0
from mmseg.registry import MODELS
from torch import Tensor

from .base import BaseOpenVocabSegmentor


@MODELS.register_module()
class OpenVocabSegmentor(BaseOpenVocabSegmentor):
    """Segmentor with a dense head, which classifies each pixel by text.

    The head is called as ``decode_head(feats, text)`` with image features and
    text embeddings. For B images and T class texts, it returns logits,
    (B, T, h, w). For the arguments of this class, see
    :class:`BaseOpenVocabSegmentor`.
    """

    def encode_decode(
        self, inputs: Tensor, batch_img_metas: list[dict] | None = None
    ) -> Tensor:
        """Compute logits (B, T, h, w) for T class texts and B images."""
        text = self.text_embeddings(self.scored_vocabulary)
        feats = self.extract_feat(inputs)
        limit = self.test_cfg.get('max_words')
        options = {} if limit is None else dict(max_words=limit)
        return self.decode_head(feats, text, **options)
