# SPDX-License-Identifier: Apache-2.0
from .clip_vit import CLIPViT
from .guided_clip import GuidedCLIP
from .last_blocks import (
    ClearCLIPBlock,
    LastBlock,
    MaskCLIPBlock,
    NACLIPBlock,
    SCCLIPBlock,
    SCLIPBlock,
    SFPBlock,
)
from .swin import FusedSwinTransformer

__all__ = [
    'CLIPViT',
    'ClearCLIPBlock',
    'FusedSwinTransformer',
    'GuidedCLIP',
    'LastBlock',
    'MaskCLIPBlock',
    'NACLIPBlock',
    'SCCLIPBlock',
    'SCLIPBlock',
    'SFPBlock',
]
