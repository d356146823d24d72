# SPDX-License-Identifier: Apache-2.0
"""Layouts of SCAN's checkpoints.

One layout is for segmentors. The other layout is for CLIPs that were
fine-tuned with contextual shift.
"""

from torch import Tensor

from ..rename import Drop, Row, map_tensor
from .clip import TEMPERATURE, image_rows, text_rows
from .layout import LAYOUTS, Layout
from .swin import swin_rows

_PARAMS = r'\.(weight|bias)'
_ATTENTION = r'\.((?:in_proj_|out_proj\.)(?:weight|bias))'
_PIXEL = r'sem_seg_head\.pixel_decoder\.'
_PREDICTOR = r'sem_seg_head\.predictor\.'
_PROPOSALS = 'decode_head.proposals.'
_DECODER = f'{_PROPOSALS}decoder.'
_SIM = 'decode_head.integration.'
_REMNANT = Drop('a parameter that SCAN does not use')


def _pixel_decoder_rows() -> list[Row]:
    layer = rf'{_PIXEL}transformer\.encoder\.layers\.(\d+)\.'
    into = r'neck.layers.\1.'
    return [
        (
            rf'{_PIXEL}input_proj\.(\d)\.([01]){_PARAMS}',
            r'neck.projections.\1.\2.\3',
        ),
        (rf'{_PIXEL}transformer\.level_embed', 'neck.level_embed'),
        (
            rf'{layer}self_attn\.(sampling_offsets|attention_weights'
            rf'|value_proj|output_proj){_PARAMS}',
            rf'{into}attention.\2.\3',
        ),
        (rf'{layer}(norm[12]){_PARAMS}', rf'{into}\2.\3'),
        (rf'{layer}linear1{_PARAMS}', rf'{into}mlp.0.\2'),
        (rf'{layer}linear2{_PARAMS}', rf'{into}mlp.2.\2'),
        (rf'{_PIXEL}adapter_1\.weight', 'neck.lateral.0.weight'),
        (rf'{_PIXEL}adapter_1\.norm{_PARAMS}', r'neck.lateral.1.\1'),
        (rf'{_PIXEL}layer_1\.weight', 'neck.output.0.weight'),
        (rf'{_PIXEL}layer_1\.norm{_PARAMS}', r'neck.output.1.\1'),
        (rf'{_PIXEL}mask_features{_PARAMS}', r'neck.mask_features.\1'),
    ]


def _predictor_rows() -> list[Row]:
    cross = rf'{_PREDICTOR}transformer_cross_attention_layers\.(\d+)\.'
    among = rf'{_PREDICTOR}transformer_self_attention_layers\.(\d+)\.'
    mlp = rf'{_PREDICTOR}transformer_ffn_layers\.(\d+)\.'
    into = rf'{_DECODER}layers.\1.'
    rows: list[Row] = [
        (rf'{cross}multihead_attn{_ATTENTION}', rf'{into}cross_attn.\2'),
        (rf'{cross}norm{_PARAMS}', rf'{into}norm1.\2'),
        (rf'{among}self_attn{_ATTENTION}', rf'{into}self_attn.\2'),
        (rf'{among}norm{_PARAMS}', rf'{into}norm2.\2'),
        (rf'{mlp}linear1{_PARAMS}', rf'{into}mlp.0.\2'),
        (rf'{mlp}linear2{_PARAMS}', rf'{into}mlp.3.\2'),
        (rf'{mlp}norm{_PARAMS}', rf'{into}norm3.\2'),
        (rf'{_PREDICTOR}decoder_norm{_PARAMS}', rf'{_DECODER}norm.\1'),
        (
            rf'{_PREDICTOR}(query_feat|query_embed|level_embed)\.weight',
            rf'{_DECODER}\1.weight',
        ),
    ]
    # Every second module of a sequence with ReLUs is a linear layer.
    for index in range(3):
        rows.append(
            (
                rf'{_PREDICTOR}(mask_embed|class_embed)\.layers\.{index}'
                rf'{_PARAMS}',
                rf'{_PROPOSALS}\1.{2 * index}.\2',
            )
        )
    return rows


def _integration_rows() -> list[Row]:
    layer = r'lightweight_transformer\.layers\.(\d+)\.'
    into = rf'{_SIM}encoder.\1.'
    return [
        ('learnable_weight', f'{_SIM}context_weight'),
        (rf'LFM\.(conv[12]){_PARAMS}', rf'{_SIM}filter.\1.\2'),
        (rf'oriclip_mlp\.fc1{_PARAMS}', rf'{_SIM}memory_proj.0.\1'),
        (rf'oriclip_mlp\.fc2{_PARAMS}', rf'{_SIM}memory_proj.1.\1'),
        (
            rf'fusion_decoder\.multiattn\.(\d+){_ATTENTION}',
            rf'{_SIM}attentions.\1.\2',
        ),
        (rf'fusion_decoder\.ln\.(\d+){_PARAMS}', rf'{_SIM}norms.\1.\2'),
        # Attention over one token gives its value.
        (
            rf'{layer}self_attn\.in_proj_(weight|bias)',
            map_tensor(rf'{into}value.\2', _last_third),
        ),
        (rf'{layer}self_attn\.out_proj{_PARAMS}', rf'{into}out_proj.\2'),
        (rf'{layer}(norm[12]){_PARAMS}', rf'{into}\2.\3'),
        (rf'{layer}linear1{_PARAMS}', rf'{into}mlp.0.\2'),
        (rf'{layer}linear2{_PARAMS}', rf'{into}mlp.3.\2'),
    ]


def _last_third(tensor: Tensor) -> Tensor:
    return tensor.chunk(3)[2].clone()


def _clip_rows(trained: str, frozen: str) -> list[Row]:
    """Return the rows that rename SCAN's fine-tuned and frozen CLIP.

    Args:
        trained (str): Name prefix of the fine-tuned CLIP in the file. This
            CLIP encodes regions and texts.
        frozen (str): Name prefix of the frozen image tower in the same file.
            This tower encodes whole images.

    Returns:
        list[Row]: Rows of the renaming table.
    """
    return [
        *image_rows(f'{trained}visual.', 'region_encoder.clip.'),
        *text_rows(trained),
        *image_rows(frozen, 'context_encoder.clip.'),
        (
            r'(?:.*\.)?visual\.(?:learnable_weight|cxt_decoder\..*)',
            _REMNANT,
        ),
    ]


_SEGMENTER = [
    *swin_rows(r'backbone\.', 'backbone.'),
    *_pixel_decoder_rows(),
    *_predictor_rows(),
    *_integration_rows(),
    *_clip_rows('clip_adapter.clip_model.', 'clip_adapter.original_clip.'),
    (r'clip_adapter\.non_object_embedding', 'decode_head.no_object_embedding'),
    (
        r'clip_adapter\.clip_model\.logit_scale',
        TEMPERATURE,
    ),
    (
        r'clip_adapter\.pixel_(?:mean|std)',
        Drop("CLIP's constant pixel mean or std"),
    ),
    (r'criterion\.empty_weight', Drop('class weights of the loss')),
]
SHIFTED_CLIP = 'SCAN, CLIP with contextual shift'


@LAYOUTS.register
class SCANLayout(Layout):
    """Layout of the segmentor checkpoints of SCAN's authors."""

    name = 'scan'
    method = 'SCAN'
    signature = (
        r'fusion_decoder\.multiattn\.0\.in_proj_weight',
        r'clip_adapter\.original_clip\.conv1\.weight',
    )
    table = _SEGMENTER
    vocabulary = 'coco'


@LAYOUTS.register
class ShiftedCLIPLayout(Layout):
    """Layout of SCAN's CLIP checkpoints, fine-tuned with contextual shift.

    A checkpoint contains the fine-tuned CLIP and the frozen image tower, but
    not the other parts of the segmentor.
    """

    name = 'scan_clip'
    method = SHIFTED_CLIP
    signature = (
        r'clip_model\.visual\.conv1\.weight',
        r'original_clip_visual\.conv1\.weight',
    )
    table = (
        *_clip_rows('clip_model.', 'original_clip_visual.'),
        (r'clip_model\.logit_scale', 'logit_scale'),
    )
