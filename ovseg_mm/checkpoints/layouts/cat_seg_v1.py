# SPDX-License-Identifier: Apache-2.0
"""CAT-Seg's first version, as MMSegmentation's project CAT-Seg saves it."""

from ..rename import Drop, Row, split_rows
from .clip import image_rows, text_rows
from .layout import Layout

_CLIP = 'backbone.clip_model.'
_LAYER = r'neck\.layers\.(\d+)\.'
_PARAMS = r'\.(weight|bias)'
_TEXTS = Drop(
    'text embeddings of the class list of that run; they are made anew'
)


def _block_rows(number: int) -> list[Row]:
    """Rows of the window block that the file calls ``block_{number}``."""
    block = rf'{_LAYER}spatial_agg\.block_{number}\.'
    into = rf'decode_head.layers.\1.spatial.blocks.{number - 1}.'
    return [
        (rf'{block}(norm[12]){_PARAMS}', rf'{into}\2.\3'),
        (rf'{block}attn\.w_msa\.(v|proj){_PARAMS}', rf'{into}attn.\2.\3'),
        (
            rf'{block}attn\.w_msa\.qk{_PARAMS}',
            split_rows(rf'{into}attn.q.\2', rf'{into}attn.k.\2'),
        ),
        (
            rf'{block}attn\.w_msa\.relative_position_index',
            Drop('an index of positions that nothing uses'),
        ),
        (rf'{block}ffn\.layers\.0\.0{_PARAMS}', rf'{into}mlp.0.\2'),
        (rf'{block}ffn\.layers\.1{_PARAMS}', rf'{into}mlp.2.\2'),
    ]


def _decoder_rows(number: int) -> list[Row]:
    """Rows of the stage that the file calls ``decoder{number}``."""
    block = rf'decode_head\.decoder{number}\.'
    into = rf'decode_head.upsample_blocks.{number - 1}.'
    return [
        (rf'{block}up{_PARAMS}', rf'{into}up.\1'),
        (rf'{block}conv1\.conv\.weight', rf'{into}conv.0.weight'),
        (rf'{block}conv1\.gn{_PARAMS}', rf'{into}conv.1.\1'),
        (rf'{block}conv2\.conv\.weight', rf'{into}conv.3.weight'),
        (rf'{block}conv2\.gn{_PARAMS}', rf'{into}conv.4.\1'),
    ]


_TABLE = [
    (r'backbone\.feature_extractor\.(.+)', r'backbone.guidance.\1'),
    *image_rows(f'{_CLIP}visual.', 'backbone.clip.'),
    *text_rows(_CLIP),
    (
        r'backbone\.clip_model\.visual\.transformer\.prompt_tokens',
        'backbone.clip.prompt_tokens',
    ),
    (
        r'backbone\.clip_model\.logit_scale',
        Drop("the temperature of CLIP's contrastive loss, not used here"),
    ),
    (r'backbone\.text_features(?:_test)?', _TEXTS),
    (rf'neck\.conv1{_PARAMS}', r'decode_head.cost_embedding.\1'),
    (
        rf'neck\.guidance_projection\.0{_PARAMS}',
        r'decode_head.appearance_projection.\1',
    ),
    (
        rf'neck\.text_guidance_projection\.0{_PARAMS}',
        r'decode_head.text_projection.\1',
    ),
    (
        rf'{_LAYER}spatial_agg\.guidance_norm{_PARAMS}',
        r'decode_head.layers.\1.spatial.guidance_norm.\2',
    ),
    *_block_rows(1),
    *_block_rows(2),
    (
        rf'{_LAYER}class_agg\.attention\.([qkv]){_PARAMS}',
        r'decode_head.layers.\1.classwise.\2.\3',
    ),
    (
        rf'{_LAYER}class_agg\.MLP\.layers\.0\.0{_PARAMS}',
        r'decode_head.layers.\1.classwise.mlp.0.\2',
    ),
    (
        rf'{_LAYER}class_agg\.MLP\.layers\.1{_PARAMS}',
        r'decode_head.layers.\1.classwise.mlp.2.\2',
    ),
    (
        rf'{_LAYER}class_agg\.(norm[12]){_PARAMS}',
        r'decode_head.layers.\1.classwise.\2.\3',
    ),
    (
        rf'decode_head\.decoder_guidance_projection\.(\d+)\.0{_PARAMS}',
        r'decode_head.decoder_projections.\1.\2',
    ),
    *_decoder_rows(1),
    *_decoder_rows(2),
    (rf'decode_head\.conv_seg{_PARAMS}', r'decode_head.head.\1'),
]

LAYOUTS = (
    Layout(
        'cat_seg_v1',
        'CAT-Seg v1',
        (
            r'backbone\.clip_model\.visual\.conv1\.weight',
            r'neck\.conv1\.weight',
            r'neck\.layers\.0\.spatial_agg\.guidance_norm\.weight',
        ),
        _TABLE,
    ),
    Layout(
        'cat_seg_v1_ovseg_mm',
        'CAT-Seg v1',
        (
            r'backbone\.clip\.conv1\.weight',
            r'backbone\.guidance\..+',
            r'decode_head\.cost_embedding\.weight',
        ),
        [(r'(?:backbone|text_encoder|decode_head)\..*', r'\g<0>')],
    ),
)
