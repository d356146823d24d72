# SPDX-License-Identifier: Apache-2.0
from .clip_context_encoder import CLIPContextEncoder, ImageContext
from .clip_region_encoder import CLIPRegionEncoder, Regions
from .clip_vit import CLIPFeatures, CLIPViT
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
    'CLIPContextEncoder',
    'CLIPFeatures',
    'CLIPRegionEncoder',
    'CLIPViT',
    'ClearCLIPBlock',
    'LastBlock',
    'MaskCLIPBlock',
    'NACLIPBlock',
    'SCCLIPBlock',
    'SCLIPBlock',
    'SFPBlock',
    'GuidedCLIP',
    'ImageContext',
    'Regions',
]
