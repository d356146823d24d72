# SPDX-License-Identifier: Apache-2.0
import json
import re
from pathlib import Path

import pytest
import torch

from ovseg_mm.checkpoints import LAYOUTS, recognise

CASES = Path(__file__).parents[1] / 'parity' / 'cases' / 'cat_seg'


@pytest.fixture(scope='module')
def published():
    """Names and shapes of a ViT-B/16 file of CAT-Seg, without memory."""
    case = json.loads((CASES / 'vitb16_sliding' / 'case.json').read_text())
    weights = {
        entry['name']: torch.empty(entry['shape'], device='meta')
        for entry in case['parameters']
    }
    for layer in (0, 1):
        name = (
            f'sem_seg_head.predictor.transformer.layers.{layer}.swin_block.'
            'block_2.attn_mask'
        )
        weights[name] = torch.empty(4, 144, 144, device='meta')
    return weights


def test_cat_seg(published):
    layout = recognise(published)
    assert (layout.name, layout.method) == ('cat_seg', 'CAT-Seg')
    converted = layout.convert(published)
    assert converted.unused == []
    dropped = [name.rpartition('.')[2] for name in converted.dropped]
    assert sorted(dropped) == ['attn_mask', 'attn_mask', 'logit_scale']
    assert len(converted.state_dict) == len(published) - 3 == 481


@pytest.mark.parametrize(
    ('theirs', 'ours', 'shape'),
    [
        (
            'P.clip_model.visual.transformer.resblocks.11.attn.k_proj_weight',
            'backbone.transformer.resblocks.11.attn.k_proj_weight',
            (768, 768),
        ),
        ('P.clip_model.visual.proj', 'backbone.proj', (768, 512)),
        (
            'P.clip_model.token_embedding.weight',
            'text_encoder.token_embedding.weight',
            (49408, 512),
        ),
        (
            'P.clip_model.positional_embedding',
            'text_encoder.positional_embedding',
            (77, 512),
        ),
        (
            'P.transformer.conv1.weight',
            'decode_head.cost_embedding.weight',
            (128, 1, 7, 7),
        ),
        (
            'P.transformer.layers.1.swin_block.block_2.mlp.fc2.weight',
            'decode_head.layers.1.spatial.blocks.1.mlp.2.weight',
            (128, 512),
        ),
        (
            'P.transformer.layers.0.swin_block.block_1.attn.q.weight',
            'decode_head.layers.0.spatial.blocks.0.attn.q.weight',
            (128, 256),
        ),
        (
            'P.transformer.layers.0.attention.padding_tokens',
            'decode_head.layers.0.classwise.padding_token',
            (128,),
        ),
        (
            'P.transformer.layers.1.attention.MLP.0.bias',
            'decode_head.layers.1.classwise.mlp.0.bias',
            (512,),
        ),
        (
            'P.transformer.decoder_guidance_projection.1.0.weight',
            'decode_head.decoder_projections.1.weight',
            (16, 128, 3, 3),
        ),
        (
            'P.transformer.decoder2.conv.double_conv.3.weight',
            'decode_head.upsample_blocks.1.conv.3.weight',
            (32, 32, 3, 3),
        ),
        ('upsample2.weight', 'neck.upsamples.1.weight', (768, 128, 4, 4)),
    ],
)
def test_cat_seg_names(published, theirs, ours, shape):
    theirs = re.sub(r'^P\.', 'sem_seg_head.predictor.', theirs)
    one = recognise(published).convert({theirs: published[theirs]})
    assert {k: tuple(v.shape) for k, v in one.state_dict.items()} == {
        ours: shape
    }


def test_unknown_names_are_reported(published):
    extra = {**published, 'sem_seg_head.predictor.extra': torch.ones(1)}
    assert recognise(extra).convert(extra).unused == [
        'sem_seg_head.predictor.extra'
    ]


def test_our_names_are_no_published_layout(published, our_weights):
    for tensors in (published, our_weights):
        ours = recognise(tensors).convert(tensors).state_dict
        assert LAYOUTS.find(ours) is None


def test_nothing_known():
    with pytest.raises(ValueError, match='begin with a.weight, b.weight'):
        recognise(['a.weight', 'b.weight'])
