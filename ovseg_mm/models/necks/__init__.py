# SPDX-License-Identifier: Apache-2.0
from .clip_token_pyramid import CLIPTokenPyramid

__all__ = ['CLIPTokenPyramid']
