# SPDX-License-Identifier: Apache-2.0
"""Preparation of downloaded data sets: write and check label files."""

from .ade20k_847 import ADE20K847
from .coco_object import COCOObject
from .coco_stuff164k import COCOStuff164k
from .command import main
from .crop_captions import CropCaptions
from .pascal_context_59 import PascalContext59
from .pascal_context_459 import PascalContext459
from .ready_made import ADE20K150, PascalVOC
from .zero_shot import ZeroShot

__all__ = [
    'ADE20K150',
    'ADE20K847',
    'COCOObject',
    'COCOStuff164k',
    'CropCaptions',
    'PascalContext459',
    'PascalContext59',
    'PascalVOC',
    'ZeroShot',
    'main',
]
