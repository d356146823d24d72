# SPDX-License-Identifier: Apache-2.0
from .backbones import CLIPViT, GuidedCLIP
from .decode_heads import CATSegCostHead
from .losses import DenseBCELoss
from .necks import CLIPTokenPyramid
from .segmentors import OpenVocabSegmentor, OpenVocabTTAModel
from .text_encoder import CLIPTextTransformer, TextBank

__all__ = [
    'CATSegCostHead',
    'CLIPTextTransformer',
    'CLIPTokenPyramid',
    'CLIPViT',
    'DenseBCELoss',
    'GuidedCLIP',
    'OpenVocabSegmentor',
    'OpenVocabTTAModel',
    'TextBank',
]
