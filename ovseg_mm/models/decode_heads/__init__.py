# SPDX-License-Identifier: Apache-2.0
from .cat_seg import CATSegCostHead
from .mask_proposal_head import MaskProposalHead, MaskProposals
from .zsseg_head import MaskPredictions, ZSSegHead

__all__ = [
    'CATSegCostHead',
    'MaskPredictions',
    'MaskProposalHead',
    'MaskProposals',
    'ZSSegHead',
]
