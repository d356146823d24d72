# SPDX-License-Identifier: Apache-2.0
from .backbones import CLIPRegionEncoder, CLIPViT, GuidedCLIP
from .classifiers import MaskedCropClassifier
from .decode_heads import CATSegCostHead, MaskProposalHead, ZSSegHead
from .layers import MaskFormerDecoder
from .losses import DenseBCELoss, MaskSetLoss
from .necks import CLIPTokenPyramid, FPNPixelDecoder
from .segmentors import (
    OpenVocabMaskSegmentor,
    OpenVocabSegmentor,
    OpenVocabTTAModel,
)
from .text_encoder import (
    CLIPPromptedTextTransformer,
    CLIPTextTransformer,
    TextBank,
)

__all__ = [
    'CATSegCostHead',
    'CLIPPromptedTextTransformer',
    'CLIPRegionEncoder',
    'CLIPTextTransformer',
    'CLIPTokenPyramid',
    'CLIPViT',
    'DenseBCELoss',
    'FPNPixelDecoder',
    'GuidedCLIP',
    'MaskFormerDecoder',
    'MaskProposalHead',
    'MaskSetLoss',
    'MaskedCropClassifier',
    'OpenVocabMaskSegmentor',
    'OpenVocabSegmentor',
    'OpenVocabTTAModel',
    'TextBank',
    'ZSSegHead',
]
