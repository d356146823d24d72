# SPDX-License-Identifier: Apache-2.0
from .clip_token_pyramid import CLIPTokenPyramid
from .fpn_pixel_decoder import FPNPixelDecoder, PixelFeatures

__all__ = [
    'CLIPTokenPyramid',
    'FPNPixelDecoder',
    'PixelFeatures',
]
