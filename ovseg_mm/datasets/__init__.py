# SPDX-License-Identifier: Apache-2.0
"""Data sets and what reads and writes their files."""

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
from .masked_crops import MaskedCropDataset
from .masked_pairs import MaskedPairDataset
from .open_vocab_dataset import OpenVocabDataset
from .transforms import (
    CropMaskedClass,
    LoadMaskedPair,
    LoadOpenVocabAnnotations,
    LoadOpenVocabImage,
    PackMaskedPair,
    SkipUnseenImages,
)

__all__ = [
    'ADE20K847Dataset',
    'COCOObjectDataset',
    'COCOStuffZeroShotDataset',
    'CropMaskedClass',
    'LoadMaskedPair',
    'LoadOpenVocabAnnotations',
    'LoadOpenVocabImage',
    'MaskedCropDataset',
    'MaskedPairDataset',
    'OpenVocabDataset',
    'PackMaskedPair',
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
