# SPDX-License-Identifier: Apache-2.0
from .cosine_head import CosineHead
from .mask_clip_head import MaskCLIPHead

__all__ = ['CosineHead', 'MaskCLIPHead']
