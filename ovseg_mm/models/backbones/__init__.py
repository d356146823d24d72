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

__all__ = [
    'CLIPViT',
    'ClearCLIPBlock',
    'GuidedCLIP',
    'LastBlock',
    'MaskCLIPBlock',
    'NACLIPBlock',
    'SCCLIPBlock',
    'SCLIPBlock',
    'SFPBlock',
]
