# SPDX-License-Identifier: Apache-2.0
"""Our weights under the names of published files."""

import torch
from torch import Tensor

PREDICTOR = 'sem_seg_head.predictor.'
PUBLISHED = f'{PREDICTOR}transformer.'
# Parts of our names, and of the authors'.
_CAT_SEG = [
    ('backbone.', f'{PREDICTOR}clip_model.visual.'),
    ('text_encoder.', f'{PREDICTOR}clip_model.'),
    ('neck.upsamples.0', 'upsample1'),
    ('neck.upsamples.1', 'upsample2'),
    ('decode_head.cost_embedding', f'{PUBLISHED}conv1'),
    (
        'decode_head.appearance_projection',
        f'{PUBLISHED}guidance_projection.0',
    ),
    (
        'decode_head.text_projection',
        f'{PUBLISHED}text_guidance_projection.0',
    ),
    (
        'decode_head.decoder_projections.0',
        f'{PUBLISHED}decoder_guidance_projection.0.0',
    ),
    (
        'decode_head.decoder_projections.1',
        f'{PUBLISHED}decoder_guidance_projection.1.0',
    ),
    ('decode_head.upsample_blocks.0', f'{PUBLISHED}decoder1'),
    ('decode_head.upsample_blocks.1', f'{PUBLISHED}decoder2'),
    ('decode_head.', PUBLISHED),
    ('conv.', 'conv.double_conv.'),
    ('spatial.blocks.0', 'swin_block.block_1'),
    ('spatial.blocks.1', 'swin_block.block_2'),
    ('spatial.', 'swin_block.'),
    ('classwise.padding_token', 'attention.padding_tokens'),
    ('classwise.padding_guidance', 'attention.padding_guidance'),
    ('classwise.mlp', 'attention.MLP'),
    ('classwise.norm', 'attention.norm'),
    ('classwise.', 'attention.attention.'),
]


def published_cat_seg(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the state dict of a CAT-Seg as its authors' files have it.

    Args:
        weights: Tensors by our names.

    Returns:
        The same tensors, and two that the files have besides.
    """
    renamed = {}
    for name, tensor in weights.items():
        for ours, theirs in _CAT_SEG:
            name = name.replace(ours, theirs)
        if 'swin_block' in name:
            name = name.replace('mlp.0', 'mlp.fc1').replace('mlp.2', 'mlp.fc2')
        if 'padding_' in name:
            tensor = tensor[None, None]
        renamed[name] = tensor
    renamed[f'{PREDICTOR}clip_model.logit_scale'] = torch.tensor(4.6)
    mask = f'{PUBLISHED}layers.1.swin_block.block_2.attn_mask'
    renamed[mask] = torch.zeros(4, 144, 144)
    return renamed
