# SPDX-License-Identifier: Apache-2.0
"""Layouts of the checkpoints of CAT-Seg's first version.

One layout is for the files of the project CAT-Seg in MMSegmentation. The
other layout is for the files of CAT-Seg's authors
(``model_final_base.pth``), written by detectron2.
"""

import re

from ..rename import Drop, Row, split_rows
from . import cat_seg
from .clip import TEMPERATURE, image_rows, text_rows
from .layout import LAYOUTS, Layout
from .resnet import basic_stem_rows, detectron2_rows
from .swin import swin_rows

_CLIP = 'backbone.clip_model.'
_LAYER, _OUR_LAYER = 'neck.layers.*.', 'decode_head.layers.*.'
_TEXTS = Drop(
    'text embeddings of the training classes, which are computed again'
)


def _block_pairs(number: int) -> list[tuple[str, str]]:
    """Return pairs (name in file, our name) for ``block_{number}``."""
    block = f'{_LAYER}spatial_agg.block_{number}.'
    into = f'{_OUR_LAYER}spatial.blocks.{number - 1}.'
    return [
        (f'{block}norm1.*', f'{into}norm1.*'),
        (f'{block}norm2.*', f'{into}norm2.*'),
        (f'{block}attn.w_msa.v.*', f'{into}attn.v.*'),
        (f'{block}attn.w_msa.proj.*', f'{into}attn.proj.*'),
        (f'{block}ffn.layers.0.0.*', f'{into}mlp.0.*'),
        (f'{block}ffn.layers.1.*', f'{into}mlp.2.*'),
    ]


def _decoder_pairs(number: int) -> list[tuple[str, str]]:
    """Return pairs (name in file, our name) for ``decoder{number}``."""
    block = f'decode_head.decoder{number}.'
    into = f'decode_head.upsample_blocks.{number - 1}.'
    return [
        (f'{block}up.*', f'{into}up.*'),
        (f'{block}conv1.conv.*', f'{into}conv.0.*'),
        (f'{block}conv1.gn.*', f'{into}conv.1.*'),
        (f'{block}conv2.conv.*', f'{into}conv.3.*'),
        (f'{block}conv2.gn.*', f'{into}conv.4.*'),
    ]


# Pairs of the tensor name in the file and in our model. One star stands for
# one part of a name between dots, two stars for several parts. A star stands
# for the same part in the two names of a pair.
_PAIRS = [
    ('backbone.feature_extractor.**', 'backbone.guidance.**'),
    (
        f'{_CLIP}visual.transformer.prompt_tokens',
        'backbone.clip.prompt_tokens',
    ),
    ('neck.conv1.*', 'decode_head.cost_embedding.*'),
    ('neck.guidance_projection.0.*', 'decode_head.appearance_projection.*'),
    ('neck.text_guidance_projection.0.*', 'decode_head.text_projection.*'),
    (
        f'{_LAYER}spatial_agg.guidance_norm.*',
        f'{_OUR_LAYER}spatial.guidance_norm.*',
    ),
    *_block_pairs(1),
    *_block_pairs(2),
    (f'{_LAYER}class_agg.norm1.*', f'{_OUR_LAYER}classwise.norm1.*'),
    (f'{_LAYER}class_agg.norm2.*', f'{_OUR_LAYER}classwise.norm2.*'),
    (f'{_LAYER}class_agg.attention.*.*', f'{_OUR_LAYER}classwise.*.*'),
    (f'{_LAYER}class_agg.MLP.layers.0.0.*', f'{_OUR_LAYER}classwise.mlp.0.*'),
    (f'{_LAYER}class_agg.MLP.layers.1.*', f'{_OUR_LAYER}classwise.mlp.2.*'),
    (
        'decode_head.decoder_guidance_projection.*.0.*',
        'decode_head.decoder_projections.*.*',
    ),
    *_decoder_pairs(1),
    *_decoder_pairs(2),
    ('decode_head.conv_seg.*', 'decode_head.head.*'),
]


def _row(source: str, target: str) -> tuple[str, str]:
    """Return the table row that renames tensors from ``source`` to ``target``.

    A star in the names is a wildcard, as in ``_PAIRS``.
    """
    pattern = re.escape(source).replace(r'\*\*', '(.+)')
    pattern = pattern.replace(r'\*', r'([^.]+)')
    numbers = iter(range(1, 1 + target.count('*')))
    return pattern, re.sub(r'\*+', lambda _: rf'\{next(numbers)}', target)


def _windows(number: int) -> list[Row]:
    """Return the rows that rename the window attention of a Swin block.

    Args:
        number (int): Number of the block, which is ``block_{number}`` in the
            file.

    Returns:
        list[Row]: Rows of the renaming table. They split the joint weights of
        q and k, and leave out the stored index of relative positions.
    """
    there = rf'neck\.layers\.(\d+)\.spatial_agg\.block_{number}\.attn\.w_msa\.'
    here = rf'decode_head.layers.\1.spatial.blocks.{number - 1}.attn.'
    return [
        (
            rf'{there}qk\.(weight|bias)',
            split_rows(rf'{here}q.\2', rf'{here}k.\2'),
        ),
        (
            rf'{there}relative_position_index',
            Drop('an index of positions that is not used'),
        ),
    ]


_TABLE = [
    *(_row(theirs, ours) for theirs, ours in _PAIRS),
    *_windows(1),
    *_windows(2),
    *image_rows(f'{_CLIP}visual.', 'backbone.clip.'),
    *text_rows(_CLIP),
    (
        r'backbone\.clip_model\.logit_scale',
        TEMPERATURE,
    ),
    (r'backbone\.text_features(?:_test)?', _TEXTS),
]

_TO_PROJECT = [
    *(_row(ours, theirs) for theirs, ours in _PAIRS),
    *(
        (
            rf'decode_head\.layers\.(\d+)\.spatial\.blocks\.{number - 1}\.attn'
            r'\.[qk]\.(weight|bias)',
            rf'neck.layers.\1.spatial_agg.block_{number}.attn.w_msa.qk.\2',
        )
        for number in (1, 2)
    ),
    *(
        row
        for ours, theirs in (
            (r'backbone\.clip', f'{_CLIP}visual'),
            ('text_encoder', 'backbone.clip_model'),
        )
        for row in (
            (
                rf'{ours}\.(.+\.attn\.)[qkv]_proj_weight',
                rf'{theirs}.\1in_proj_weight',
            ),
            (rf'{ours}\.(.+)', rf'{theirs}.\1'),
        )
    ),
]


_AUTHORS_TABLE = [
    *image_rows(f'{cat_seg.CLIP}visual.', 'backbone.clip.'),
    *text_rows(cat_seg.CLIP),
    (
        rf'{re.escape(cat_seg.CLIP)}visual\.transformer\.prompt_tokens',
        'backbone.clip.prompt_tokens',
    ),
    (rf'{re.escape(cat_seg.CLIP)}logit_scale', TEMPERATURE),
    (r'sem_seg_head\.predictor\.text_features(?:_test)?', _TEXTS),
    *cat_seg.HEAD_ROWS,
    (
        r'backbone\.(?:res5|layers\.3|layers\.2\.downsample|norm3)\..+',
        Drop('stages of the backbone after the last guidance map'),
    ),
    *basic_stem_rows(r'backbone\.', 'backbone.guidance.'),
    *detectron2_rows(r'backbone\.', 'backbone.guidance.'),
    *swin_rows(r'backbone\.', 'backbone.guidance.'),
]


def project_name(name: str) -> str:
    """Return the name of a parameter in MMSegmentation's project CAT-Seg.

    The project joins some parameters in one tensor, for example the weights
    of q and k. Such parameters have the same name in the project.

    Args:
        name (str): Name of the parameter in our model.

    Returns:
        str: Name in the project; ``name`` itself if the project has no such
        parameter.
    """
    for pattern, template in _TO_PROJECT:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(template)
    return name


@LAYOUTS.register
class CATSegV1Layout(Layout):
    """Layout of the checkpoints of MMSegmentation's project CAT-Seg."""

    name = 'cat_seg_v1'
    method = 'CAT-Seg v1'
    signature = (
        r'backbone\.clip_model\.visual\.conv1\.weight',
        r'neck\.conv1\.weight',
        r'neck\.layers\.0\.spatial_agg\.guidance_norm\.weight',
    )
    table = _TABLE


@LAYOUTS.register
class CATSegV1AuthorsLayout(Layout):
    """Layout of the checkpoints of CAT-Seg's authors, first version."""

    name = 'cat_seg_v1_authors'
    method = 'CAT-Seg v1'
    signature = (
        r'backbone\.(?:stem\.conv1|patch_embed\.proj)\.weight',
        rf'{re.escape(cat_seg.CLIP)}visual\.conv1\.weight',
        r'sem_seg_head\.predictor\.transformer\.layers\.0\.swin_block'
        r'\.guidance_norm\.weight',
    )
    table = _AUTHORS_TABLE
    vocabulary = 'coco'
