# SPDX-License-Identifier: Apache-2.0
from .base_head import BaseMaskHead, BaseOpenVocabHead
from .cascade_clip import CascadeCLIPHead
from .cat_seg import CATSegCostHead
from .mask_proposal_head import MaskProposalHead
from .pixel_text_head import PixelTextHead
from .scan import SCANHead, SemanticIntegration
from .training_free import CosineHead, MaskCLIPHead
from .zsseg_head import ZSSegHead

__all__ = [
    'BaseMaskHead',
    'BaseOpenVocabHead',
    'CATSegCostHead',
    'CascadeCLIPHead',
    'CosineHead',
    'MaskCLIPHead',
    'MaskProposalHead',
    'PixelTextHead',
    'SCANHead',
    'SemanticIntegration',
    'ZSSegHead',
]
