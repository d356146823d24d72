# SPDX-License-Identifier: Apache-2.0
"""Strategies of the last block of CLIP's image tower, without training."""

from .base import LastBlock, attend
from .calibrated import SCCLIPBlock, SFPBlock
from .simple import ClearCLIPBlock, MaskCLIPBlock, NACLIPBlock, SCLIPBlock

__all__ = [
    'ClearCLIPBlock',
    'LastBlock',
    'MaskCLIPBlock',
    'NACLIPBlock',
    'SCCLIPBlock',
    'SCLIPBlock',
    'SFPBlock',
    'attend',
]
