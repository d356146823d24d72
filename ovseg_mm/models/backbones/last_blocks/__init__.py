# SPDX-License-Identifier: Apache-2.0
"""Training-free replacements of the last block of CLIP's image tower."""

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
