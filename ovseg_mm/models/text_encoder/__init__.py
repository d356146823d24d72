# SPDX-License-Identifier: Apache-2.0
from .clip_prompted_text_transformer import CLIPPromptedTextTransformer
from .clip_text_transformer import CLIPTextTransformer
from .embedding_file import EmbeddingFile
from .prompt_encoding import tokenize_prompts
from .text_bank import TextBank
from .text_side import TextSide

__all__ = [
    'CLIPPromptedTextTransformer',
    'CLIPTextTransformer',
    'EmbeddingFile',
    'TextBank',
    'TextSide',
    'tokenize_prompts',
]
