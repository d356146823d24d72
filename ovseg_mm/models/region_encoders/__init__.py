# SPDX-License-Identifier: Apache-2.0
from .clip_context_encoder import CLIPContextEncoder
from .clip_region_encoder import CLIPRegionEncoder

__all__ = ['CLIPContextEncoder', 'CLIPRegionEncoder']
