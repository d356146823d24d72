# SPDX-License-Identifier: Apache-2.0
from .clip_transformer import CLIPAttention, CLIPBlock, CLIPTransformer

__all__ = ['CLIPAttention', 'CLIPBlock', 'CLIPTransformer']
