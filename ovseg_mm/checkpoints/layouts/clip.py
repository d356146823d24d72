# SPDX-License-Identifier: Apache-2.0
"""Layouts of CLIP files, and the table rows that rename CLIP's towers.

The layouts of segmentors also use these rows, for the CLIP in the segmentor.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ..compact import expand_clip
from ..rename import Drop, Row, map_tensor, split_rows
from .layout import LAYOUTS, Layout

_BLOCK = (
    r'transformer\.resblocks\.\d+\.(?:'
    r'(?:ln_[12]|mlp\.c_fc|mlp\.c_proj|attn\.out_proj)\.(?:weight|bias)'
    r'|attn\.(?:in_proj_bias|[qkv]_proj_weight))'
)
_FUSED = r'(transformer\.resblocks\.\d+\.attn\.)in_proj_weight'
_IMAGE = (
    r'class_embedding|positional_embedding|proj|conv1\.weight'
    r'|ln_(?:pre|post)\.(?:weight|bias)'
)
_TEXT = (
    r'token_embedding\.weight|positional_embedding|text_projection'
    r'|ln_final\.(?:weight|bias)'
)

TEMPERATURE = Drop("the temperature of CLIP's contrastive loss, not used here")
"""Action for ``logit_scale`` in the renaming tables of segmentors."""


def image_rows(source: str, target: str = 'backbone.') -> list[Row]:
    """Return the rows that rename the tensors of an image tower.

    In the file, the tensors have OpenAI's names after the prefix ``source``.

    Args:
        source (str): Name prefix in the file, with the last dot.
        target (str): Name prefix in our model, with the last dot.

    Returns:
        list[Row]: Rows of the renaming table.
    """
    return _tower_rows(source, target, _IMAGE)


def text_rows(source: str, target: str = 'text_encoder.') -> list[Row]:
    """Return the rows that rename the tensors of a text tower.

    In the file, the tensors have OpenAI's names after the prefix ``source``.

    Args:
        source (str): Name prefix in the file, with the last dot.
        target (str): Name prefix in our model, with the last dot.

    Returns:
        list[Row]: Rows of the renaming table.
    """
    return _tower_rows(source, target, _TEXT)


def _tower_rows(source: str, target: str, stem: str) -> list[Row]:
    prefix = re.escape(source)
    return [
        (rf'{prefix}({_BLOCK}|{stem})', rf'{target}\1'),
        (
            prefix + _FUSED,
            split_rows(*(rf'{target}\1{key}_proj_weight' for key in 'qkv')),
        ),
    ]


_SIZES = Drop('a size that is known from the shapes of other tensors')
_BOTH_TOWERS = [
    *image_rows('visual.'),
    *text_rows(''),
    ('logit_scale', 'logit_scale'),
    ('input_resolution|context_length|vocab_size', _SIZES),
    ('attn_mask', Drop('the causal mask, which is computed again')),
]

_HF_BLOCK = {
    'layer_norm1': 'ln_1',
    'layer_norm2': 'ln_2',
    'self_attn.out_proj': 'attn.out_proj',
    'mlp.fc1': 'mlp.c_fc',
    'mlp.fc2': 'mlp.c_proj',
}


def _huggingface_rows(source: str, target: str) -> list[Row]:
    block = rf'{source}\.encoder\.layers\.(\d+)\.'
    into = rf'{target}transformer.resblocks.\1.'
    return [
        *(
            (
                rf'{block}{re.escape(theirs)}\.(weight|bias)',
                rf'{into}{ours}.\2',
            )
            for theirs, ours in _HF_BLOCK.items()
        ),
        (
            rf'{block}self_attn\.([qkv])_proj\.weight',
            rf'{into}attn.\2_proj_weight',
        ),
        (rf'{block}self_attn\.in_proj_bias', rf'{into}attn.in_proj_bias'),
    ]


_HF_TABLE = [
    *_huggingface_rows('vision_model', 'backbone.'),
    *_huggingface_rows('text_model', 'text_encoder.'),
    (
        r'vision_model\.embeddings\.class_embedding',
        map_tensor('backbone.class_embedding', torch.flatten),
    ),
    (
        r'vision_model\.embeddings\.patch_embedding\.weight',
        'backbone.conv1.weight',
    ),
    (
        r'vision_model\.embeddings\.position_embedding\.weight',
        'backbone.positional_embedding',
    ),
    # 'layrnorm' is the spelling in published files.
    (
        r'vision_model\.pre_(?:layrnorm|layernorm)\.(weight|bias)',
        r'backbone.ln_pre.\1',
    ),
    (
        r'vision_model\.post_layernorm\.(weight|bias)',
        r'backbone.ln_post.\1',
    ),
    (r'visual_projection\.weight', map_tensor('backbone.proj', torch.t)),
    (
        r'text_model\.embeddings\.token_embedding\.weight',
        'text_encoder.token_embedding.weight',
    ),
    (
        r'text_model\.embeddings\.position_embedding\.weight',
        'text_encoder.positional_embedding',
    ),
    (
        r'text_model\.final_layer_norm\.(weight|bias)',
        r'text_encoder.ln_final.\1',
    ),
    (
        r'text_projection\.weight',
        map_tensor('text_encoder.text_projection', torch.t),
    ),
    ('logit_scale', 'logit_scale'),
    (r'.*\.position_ids', Drop('an index of positions that is not used')),
]


@LAYOUTS.register
class CLIPLayout(Layout):
    """Layout of CLIP files with the tensor names of OpenAI and open_clip."""

    name = 'clip'
    method = 'CLIP'
    signature = (r'visual\.conv1\.weight', r'token_embedding\.weight')
    table = _BOTH_TOWERS


@LAYOUTS.register
class CompactCLIPLayout(Layout):
    """Layout of CLIP files with the tensors that :func:`compact_clip` returns.

    Such a file contains only some of CLIP's token embeddings.
    """

    name = 'clip_compact'
    method = 'CLIP'
    signature = (r'visual\.conv1\.weight', r'token_embedding\.rows')
    table = _BOTH_TOWERS

    def prepare(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Restore the token embeddings that the file leaves out.

        :func:`expand_clip` generates them with the random seed in the file.
        """
        return expand_clip(tensors)


@LAYOUTS.register
class CustomTextCLIPLayout(Layout):
    """Layout of open_clip files with the name prefix ``text.``.

    The tensors of the text tower have this prefix.
    """

    name = 'clip_custom_text'
    method = 'CLIP'
    signature = (r'visual\.conv1\.weight', r'text\.token_embedding\.weight')
    table = (*text_rows('text.'), *_BOTH_TOWERS)


@LAYOUTS.register
class HuggingFaceCLIPLayout(Layout):
    """Layout of CLIP files that ``CLIPModel`` of transformers has saved."""

    name = 'clip_huggingface'
    method = 'CLIP'
    signature = (
        r'vision_model\.embeddings\.class_embedding',
        r'text_model\.embeddings\.token_embedding\.weight',
    )
    table = _HF_TABLE

    def prepare(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Join the biases of q, k and v, which are one tensor in our CLIP."""
        fused = dict(tensors)
        for name in tensors:
            prefix, found, _ = name.partition('self_attn.q_proj.bias')
            parts = [f'{prefix}self_attn.{key}_proj.bias' for key in 'qkv']
            if found and all(part in fused for part in parts):
                fused[f'{prefix}self_attn.in_proj_bias'] = torch.cat(
                    [fused.pop(part) for part in parts]
                )
        return fused
