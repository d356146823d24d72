# SPDX-License-Identifier: Apache-2.0
"""Layouts of ZSSeg's checkpoints, written by detectron2.

There are layouts for segmentors, and a layout for CLIPs with learned prompts.
The checkpoint of a segmentor contains one or two CLIPs:

- One CLIP: it encodes the image regions and the class texts.
- Two CLIPs: the region CLIP encodes the image regions, and the class texts
  for the comparison with regions. The other CLIP encodes only class texts, for
  the comparison with the embeddings of the mask proposals.
"""

from ..rename import Drop, Row
from .clip import TEMPERATURE, image_rows, text_rows
from .layout import LAYOUTS, Layout
from .resnet import basic_stem_rows, detectron2_rows

_PARAMS = r'\.(weight|bias)'
_PIXEL = r'sem_seg_head\.pixel_decoder\.'
_PREDICTOR = r'sem_seg_head\.predictor\.'
_LAYER = rf'{_PREDICTOR}transformer\.decoder\.layers\.(\d+)\.'
_DECODER = 'decode_head.proposals.decoder.'


def _pixel_decoder_rows() -> list[Row]:
    rows: list[Row] = [
        (rf'{_PIXEL}mask_features{_PARAMS}', r'neck.mask_features.\1')
    ]
    for theirs, ours, count in (
        ('adapter', 'laterals', 3),
        ('layer', 'outputs', 4),
    ):
        for number in range(1, count + 1):
            name, into = f'{theirs}_{number}', f'neck.{ours}.{number - 1}.'
            rows += [
                (rf'{_PIXEL}{name}\.weight', f'{into}conv.weight'),
                (rf'{_PIXEL}{name}\.norm{_PARAMS}', rf'{into}gn.\1'),
            ]
    return rows


def _predictor_rows() -> list[Row]:
    into = rf'{_DECODER}layers.\1.'
    attention = r'\.((?:in_proj_|out_proj\.)(?:weight|bias))'
    rows: list[Row] = [
        (rf'{_LAYER}self_attn{attention}', rf'{into}self_attn.\2'),
        (rf'{_LAYER}multihead_attn{attention}', rf'{into}cross_attn.\2'),
        (rf'{_LAYER}linear1{_PARAMS}', rf'{into}mlp.0.\2'),
        (rf'{_LAYER}linear2{_PARAMS}', rf'{into}mlp.3.\2'),
        (rf'{_LAYER}(norm[123]){_PARAMS}', rf'{into}\2.\3'),
        (
            rf'{_PREDICTOR}transformer\.decoder\.norm{_PARAMS}',
            rf'{_DECODER}norm.\1',
        ),
        (
            rf'{_PREDICTOR}(query_embed|input_proj){_PARAMS}',
            rf'{_DECODER}\1.\2',
        ),
    ]
    # Every second module of a sequence with ReLUs is a linear layer.
    for index in range(3):
        rows.append(
            (
                rf'{_PREDICTOR}(mask_embed|class_embed)\.layers\.{index}'
                rf'{_PARAMS}',
                rf'decode_head.proposals.\1.{2 * index}.\2',
            )
        )
    return rows


def _adapter_rows(source: str, text: str) -> list[Row]:
    """Return the rows that rename the text tower of a CLIP adapter.

    In ZSSeg, a CLIP adapter consists of a CLIP and its learned prompts.

    Args:
        source (str): Prefix of the adapter's tensor names in the file.
        text (str): Name of the text tower in our model.

    Returns:
        list[Row]: Rows of the renaming table.
    """
    return [
        *text_rows(f'{source}.clip_model.', f'{text}.'),
        (
            rf'{source}\.prompt_learner\.(prefix_prompt|suffix_prompt)',
            rf'{text}.\1',
        ),
        (
            rf'{source}\.prompt_learner\.(?:start|dot|end|pad)_signal',
            Drop('a copy of a token embedding'),
        ),
        (
            rf'{source}\.pixel_(?:mean|std)',
            Drop("CLIP's constant pixel mean or std"),
        ),
        (
            rf'{source}\.clip_model\.logit_scale',
            TEMPERATURE,
        ),
    ]


_SEGMENTER = [
    *_pixel_decoder_rows(),
    *_predictor_rows(),
    *_adapter_rows('clip_adapter', 'text_encoder'),
    (r'clip_adapter\.non_object_embedding', 'decode_head.no_object_embedding'),
    (r'criterion\.empty_weight', Drop('class weights of the loss')),
]
_SHARED = image_rows('clip_adapter.clip_model.visual.', 'region_encoder.clip.')
_SEPARATE = [
    *image_rows(
        '_region_clip_adapter.clip_model.visual.', 'region_encoder.clip.'
    ),
    *_adapter_rows('_region_clip_adapter', 'region_text_encoder'),
    (
        r'_region_clip_adapter\.non_object_embedding',
        Drop('the embedding of "no object", which is not used for regions'),
    ),
    (
        r'clip_adapter\.clip_model\.visual\..*',
        Drop('an image tower that is not used'),
    ),
]
_BACKBONE = detectron2_rows(r'backbone\.', 'backbone.')
_BASIC_STEM = basic_stem_rows(r'backbone\.', 'backbone.')
_SIGNATURE = (
    r'clip_adapter\.non_object_embedding',
    rf'{_PREDICTOR}transformer\.decoder\.layers\.0\.norm3\.weight',
)
_DEEP = r'backbone\.stem\.conv3\.weight'
_REGION = r'_region_clip_adapter\..*'
# Tensors that only SCAN has.
_NOT_SCAN = r'fusion_decoder\..*'

_PROMPT_STAGE = (
    r'clip_adapter\.clip_model\.visual\.conv1\.weight',
    r'clip_adapter\.prompt_learner\.(?:prefix|suffix)_prompt',
)


class _SegmenterLayout(Layout):
    """Base class of the layouts of ZSSeg's segmentors."""

    method = 'ZSSeg'
    without = _NOT_SCAN


@LAYOUTS.register
class ZSSegLayout(_SegmenterLayout):
    """Layout of ZSSeg checkpoints with one CLIP and a basic ResNet stem."""

    name = 'zsseg'
    signature = _SIGNATURE
    table = (*_BASIC_STEM, *_BACKBONE, *_SEGMENTER, *_SHARED)


@LAYOUTS.register
class ZSSegSeparateLayout(_SegmenterLayout):
    """Layout of ZSSeg checkpoints with two CLIPs and a basic ResNet stem.

    The second CLIP is used only for the classification of regions.
    """

    name = 'zsseg_separate'
    signature = (*_SIGNATURE, _REGION)
    table = (*_BASIC_STEM, *_BACKBONE, *_SEGMENTER, *_SEPARATE)


@LAYOUTS.register
class ZSSegR101cLayout(_SegmenterLayout):
    """Layout of ZSSeg checkpoints with one CLIP and a deep ResNet stem.

    The stem has three layers.
    """

    name = 'zsseg_r101c'
    signature = (*_SIGNATURE, _DEEP)
    table = (*_BACKBONE, *_SEGMENTER, *_SHARED)


@LAYOUTS.register
class ZSSegR101cSeparateLayout(_SegmenterLayout):
    """Layout of ZSSeg checkpoints with two CLIPs and a deep ResNet stem.

    The stem has three layers. The second CLIP is used only for the
    classification of regions.
    """

    name = 'zsseg_r101c_separate'
    signature = (*_SIGNATURE, _DEEP, _REGION)
    table = (*_BACKBONE, *_SEGMENTER, *_SEPARATE)


@LAYOUTS.register
class ZSSegPromptsLayout(Layout):
    """Layout of ZSSeg's checkpoints of CLIPs with learned prompts.

    The first of ZSSeg's two training stages, which trains only the prompts,
    writes these checkpoints.
    """

    name = 'zsseg_prompts'
    method = 'ZSSeg, learned prompts'
    signature = _PROMPT_STAGE
    without = r'sem_seg_head\..*'
    table = (
        *image_rows('clip_adapter.clip_model.visual.', 'image_encoder.'),
        *_adapter_rows('clip_adapter', 'text_encoder'),
    )
