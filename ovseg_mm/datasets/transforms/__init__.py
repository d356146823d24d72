# SPDX-License-Identifier: Apache-2.0
from .class_crop import CropClass
from .crop_caption import LoadCropCaption, PackCropCaption
from .images import LoadOpenVocabImage
from .loading import LoadOpenVocabAnnotations
from .seen_images import SkipUnseenImages

__all__ = [
    'CropClass',
    'LoadCropCaption',
    'LoadOpenVocabAnnotations',
    'LoadOpenVocabImage',
    'PackCropCaption',
    'SkipUnseenImages',
]
