# SPDX-License-Identifier: Apache-2.0
"""Layout of CAT-Seg's checkpoints, in the version of CVPR 2024.

The published files ``model_base.pth`` and ``model_large.pth`` were written by
detectron2.
"""

import torch

from ..rename import Drop, Row, map_tensor
from .clip import TEMPERATURE, image_rows, text_rows
from .layout import LAYOUTS, Layout

CLIP = 'sem_seg_head.predictor.clip_model.'
_HEAD = r'sem_seg_head\.predictor\.transformer\.'
_LAYER = rf'{_HEAD}layers\.(\d+)\.'
_PARAMS = r'\.(weight|bias)'


def _block_rows(number: int) -> list[Row]:
    """Return the rows of a renaming table for one Swin block.

    The name of the block in the file is ``block_{number}``.
    """
    block = rf'{_LAYER}swin_block\.block_{number}\.'
    into = rf'decode_head.layers.\1.spatial.blocks.{number - 1}.'
    return [
        (rf'{block}(norm[12]|attn\.(?:[qkv]|proj)){_PARAMS}', rf'{into}\2.\3'),
        (rf'{block}mlp\.fc1{_PARAMS}', rf'{into}mlp.0.\2'),
        (rf'{block}mlp\.fc2{_PARAMS}', rf'{into}mlp.2.\2'),
        (
            rf'{block}attn_mask',
            Drop('the mask of shifted windows, which is computed again'),
        ),
    ]


def _decoder_rows(number: int) -> list[Row]:
    """Return the table rows that rename the tensors of a decoder stage.

    The name of the stage in the file is ``decoder{number}``.
    """
    into = rf'decode_head.upsample_blocks.{number - 1}.'
    return [
        (rf'{_HEAD}decoder{number}\.up{_PARAMS}', rf'{into}up.\1'),
        (
            rf'{_HEAD}decoder{number}\.conv\.double_conv\.([0134]){_PARAMS}',
            rf'{into}conv.\1.\2',
        ),
    ]


# Files of the first version have the same names, but no padding tokens.
HEAD_ROWS: list[Row] = [
    (rf'{_HEAD}conv1{_PARAMS}', r'decode_head.cost_embedding.\1'),
    (
        rf'{_HEAD}guidance_projection\.0{_PARAMS}',
        r'decode_head.appearance_projection.\1',
    ),
    (
        rf'{_HEAD}text_guidance_projection\.0{_PARAMS}',
        r'decode_head.text_projection.\1',
    ),
    (
        rf'{_HEAD}decoder_guidance_projection\.(\d+)\.0{_PARAMS}',
        r'decode_head.decoder_projections.\1.\2',
    ),
    (
        rf'{_LAYER}swin_block\.guidance_norm{_PARAMS}',
        r'decode_head.layers.\1.spatial.guidance_norm.\2',
    ),
    *_block_rows(1),
    *_block_rows(2),
    (
        rf'{_LAYER}attention\.padding_tokens',
        map_tensor(
            r'decode_head.layers.\1.classwise.padding_token', torch.flatten
        ),
    ),
    (
        rf'{_LAYER}attention\.padding_guidance',
        map_tensor(
            r'decode_head.layers.\1.classwise.padding_guidance', torch.flatten
        ),
    ),
    (
        rf'{_LAYER}attention\.attention\.([qkv]){_PARAMS}',
        r'decode_head.layers.\1.classwise.\2.\3',
    ),
    (
        rf'{_LAYER}attention\.MLP\.([02]){_PARAMS}',
        r'decode_head.layers.\1.classwise.mlp.\2.\3',
    ),
    (
        rf'{_LAYER}attention\.(norm[12]){_PARAMS}',
        r'decode_head.layers.\1.classwise.\2.\3',
    ),
    *_decoder_rows(1),
    *_decoder_rows(2),
    (rf'{_HEAD}head{_PARAMS}', r'decode_head.head.\1'),
]

_TABLE = [
    *image_rows(f'{CLIP}visual.'),
    *text_rows(CLIP),
    (
        r'sem_seg_head\.predictor\.clip_model\.visual\.transformer\.'
        'prompt_tokens',
        'backbone.prompt_tokens',
    ),
    (
        r'sem_seg_head\.predictor\.clip_model\.logit_scale',
        TEMPERATURE,
    ),
    *HEAD_ROWS,
    (rf'upsample1{_PARAMS}', r'neck.upsamples.0.\1'),
    (rf'upsample2{_PARAMS}', r'neck.upsamples.1.\1'),
]


@LAYOUTS.register
class CATSegLayout(Layout):
    """Layout of the checkpoints of CAT-Seg's authors, CVPR 2024 version."""

    name = 'cat_seg'
    method = 'CAT-Seg'
    signature = (
        r'sem_seg_head\.predictor\.clip_model\.visual\.conv1\.weight',
        rf'{_HEAD}conv1\.weight',
        rf'{_HEAD}layers\.0\.swin_block\.guidance_norm\.weight',
        r'upsample1\.weight',
    )
    table = _TABLE
    vocabulary = 'coco'
