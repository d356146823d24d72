# SPDX-License-Identifier: Apache-2.0
from .base import BaseOpenVocabSegmentor
from .open_vocab_mask_segmentor import (
    OpenVocabMaskSegmentor,
    deciding_proposals,
)
from .open_vocab_segmentor import OpenVocabSegmentor
from .tta import OpenVocabTTAModel

__all__ = [
    'BaseOpenVocabSegmentor',
    'OpenVocabMaskSegmentor',
    'OpenVocabSegmentor',
    'OpenVocabTTAModel',
    'deciding_proposals',
]
