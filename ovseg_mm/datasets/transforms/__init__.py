# SPDX-License-Identifier: Apache-2.0
from .images import LoadOpenVocabImage
from .loading import LoadOpenVocabAnnotations
from .masked_crop import CropMaskedClass
from .masked_pair import LoadMaskedPair, PackMaskedPair
from .seen_images import SkipUnseenImages

__all__ = [
    'CropMaskedClass',
    'LoadMaskedPair',
    'LoadOpenVocabAnnotations',
    'LoadOpenVocabImage',
    'PackMaskedPair',
    'SkipUnseenImages',
]
