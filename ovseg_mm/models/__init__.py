# SPDX-License-Identifier: Apache-2.0
from .backbones import CLIPViT, FusedSwinTransformer, GuidedCLIP
from .classifiers import ClassCropClassifier, ShiftedCLIP
from .decode_heads import (
    BaseMaskHead,
    BaseOpenVocabHead,
    CascadeCLIPHead,
    CATSegCostHead,
    CosineHead,
    MaskCLIPHead,
    MaskProposalHead,
    PixelTextHead,
    SCANHead,
    ZSSegHead,
)
from .layers import MaskedAttentionDecoder, MaskFormerDecoder
from .losses import DenseBCELoss, DenseDiceLoss, DenseFocalLoss, MaskSetLoss
from .necks import (
    CLIPLevelProjection,
    CLIPTokenPyramid,
    DeformPixelDecoder,
    FPNPixelDecoder,
)
from .region_encoders import CLIPContextEncoder, CLIPRegionEncoder
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
    'BaseMaskHead',
    'BaseOpenVocabHead',
    'CATSegCostHead',
    'CLIPContextEncoder',
    'CLIPLevelProjection',
    'CLIPPromptedTextTransformer',
    'CLIPRegionEncoder',
    'CLIPTextTransformer',
    'CLIPTokenPyramid',
    'CLIPViT',
    'CascadeCLIPHead',
    'CosineHead',
    'MaskCLIPHead',
    'DeformPixelDecoder',
    'DenseBCELoss',
    'DenseDiceLoss',
    'DenseFocalLoss',
    'FPNPixelDecoder',
    'FusedSwinTransformer',
    'GuidedCLIP',
    'MaskFormerDecoder',
    'MaskedAttentionDecoder',
    'MaskProposalHead',
    'MaskSetLoss',
    'ClassCropClassifier',
    'OpenVocabMaskSegmentor',
    'OpenVocabSegmentor',
    'OpenVocabTTAModel',
    'PixelTextHead',
    'SCANHead',
    'ShiftedCLIP',
    'TextBank',
    'ZSSegHead',
]
