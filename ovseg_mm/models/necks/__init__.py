# SPDX-License-Identifier: Apache-2.0
from .clip_level_projection import CLIPLevelProjection, LevelFeatures
from .clip_token_pyramid import CLIPTokenPyramid
from .fpn_pixel_decoder import FPNPixelDecoder, PixelFeatures

__all__ = [
    'CLIPLevelProjection',
    'CLIPTokenPyramid',
    'FPNPixelDecoder',
    'LevelFeatures',
    'PixelFeatures',
]
