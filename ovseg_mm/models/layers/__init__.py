# SPDX-License-Identifier: Apache-2.0
from .clip_transformer import CLIPAttention, CLIPBlock, CLIPTransformer
from .mlp import mlp
from .query_decoder import DETRDecoderLayer, MaskFormerDecoder, MasksOf
from .sine_position import sine_position

__all__ = [
    'CLIPAttention',
    'CLIPBlock',
    'CLIPTransformer',
    'DETRDecoderLayer',
    'MaskFormerDecoder',
    'MasksOf',
    'mlp',
    'sine_position',
]
