# SPDX-License-Identifier: Apache-2.0
from .clip_level_projection import CLIPLevelProjection
from .clip_token_pyramid import CLIPTokenPyramid
from .deform_pixel_decoder import DeformPixelDecoder
from .fpn_pixel_decoder import FPNPixelDecoder

__all__ = [
    'CLIPLevelProjection',
    'CLIPTokenPyramid',
    'DeformPixelDecoder',
    'FPNPixelDecoder',
]
