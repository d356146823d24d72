# SPDX-License-Identifier: Apache-2.0
from .loading import LoadOpenVocabAnnotations
from .masked_crop import CropMaskedClass

__all__ = ['CropMaskedClass', 'LoadOpenVocabAnnotations']
