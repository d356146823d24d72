# SPDX-License-Identifier: Apache-2.0
"""Data sets, their transforms, and reading and writing of their files."""

from ovseg_mm.utils.image_files import (
    read_image,
    read_label_map,
    write_image,
    write_label_map,
)

from .benchmarks import (
    ADE20K847Dataset,
    COCOObjectDataset,
    COCOStuffZeroShotDataset,
    PascalContext59ZeroShotDataset,
    PascalContext60Dataset,
    PascalContext459Dataset,
    PascalVOC20bDataset,
    PascalVOC20Dataset,
    PascalVOC20ZeroShotDataset,
    PascalVOC21Dataset,
)
from .class_crops import ClassCropDataset
from .crop_captions import CropCaptionDataset
from .open_vocab_dataset import OpenVocabDataset
from .transforms import (
    CropClass,
    LoadCropCaption,
    LoadOpenVocabAnnotations,
    LoadOpenVocabImage,
    PackCropCaption,
    SkipUnseenImages,
)

__all__ = [
    'ADE20K847Dataset',
    'COCOObjectDataset',
    'COCOStuffZeroShotDataset',
    'CropClass',
    'LoadCropCaption',
    'LoadOpenVocabAnnotations',
    'LoadOpenVocabImage',
    'ClassCropDataset',
    'CropCaptionDataset',
    'OpenVocabDataset',
    'PackCropCaption',
    'PascalContext459Dataset',
    'PascalContext59ZeroShotDataset',
    'PascalVOC20Dataset',
    'PascalVOC20ZeroShotDataset',
    'PascalContext60Dataset',
    'PascalVOC20bDataset',
    'PascalVOC21Dataset',
    'SkipUnseenImages',
    'read_image',
    'read_label_map',
    'write_image',
    'write_label_map',
]
