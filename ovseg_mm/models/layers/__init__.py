# SPDX-License-Identifier: Apache-2.0
from .clip_transformer import CLIPAttention, CLIPBlock, CLIPTransformer
from .context_shift import ContextShift, Replacements
from .deform_attention import MultiScaleDeformAttention
from .mlp import mlp
from .query_decoder import (
    DETRDecoderLayer,
    MaskedAttentionDecoder,
    MaskFormerDecoder,
    MasksOf,
)
from .sine_position import sine_position

__all__ = [
    'CLIPAttention',
    'CLIPBlock',
    'CLIPTransformer',
    'ContextShift',
    'DETRDecoderLayer',
    'MaskFormerDecoder',
    'MaskedAttentionDecoder',
    'MasksOf',
    'MultiScaleDeformAttention',
    'Replacements',
    'mlp',
    'sine_position',
]
