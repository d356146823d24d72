# SPDX-License-Identifier: Apache-2.0
from .backbones import CLIPRegionEncoder, CLIPViT, GuidedCLIP
from .classifiers import MaskedCropClassifier
from .decode_heads import (
    CascadeCLIPHead,
    CATSegCostHead,
    MaskProposalHead,
    ZSSegHead,
)
from .layers import MaskFormerDecoder
from .losses import DenseBCELoss, DenseDiceLoss, DenseFocalLoss, MaskSetLoss
from .necks import CLIPLevelProjection, CLIPTokenPyramid, FPNPixelDecoder
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
    'CLIPLevelProjection',
    'CLIPPromptedTextTransformer',
    'CLIPRegionEncoder',
    'CLIPTextTransformer',
    'CLIPTokenPyramid',
    'CLIPViT',
    'CascadeCLIPHead',
    'DenseBCELoss',
    'DenseDiceLoss',
    'DenseFocalLoss',
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
