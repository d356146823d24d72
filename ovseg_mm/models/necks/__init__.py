# SPDX-License-Identifier: Apache-2.0
from .clip_level_projection import CLIPLevelProjection, LevelFeatures
from .clip_token_pyramid import CLIPTokenPyramid
from .deform_pixel_decoder import DeformPixelDecoder
from .fpn_pixel_decoder import FPNPixelDecoder
from .pixel_features import PixelFeatures

__all__ = [
    'CLIPLevelProjection',
    'CLIPTokenPyramid',
    'DeformPixelDecoder',
    'FPNPixelDecoder',
    'LevelFeatures',
    'PixelFeatures',
]
