# SPDX-License-Identifier: Apache-2.0
"""Learning-rate factors by the names of MMSegmentation's project."""

from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

import ovseg_mm.compat.cat_seg  # noqa: F401

PARITY = Path(__file__).parents[1] / 'parity'
BASE = 2.0


@pytest.fixture(scope='module')
def model():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PARITY)
        import cat_seg_v1
        from seeded import load_case

        case = load_case(PARITY / 'cases' / 'cat_seg_v1' / 'tiny_resnet_slide')
        init_default_scope('mmseg')
        return MODELS.build(cat_seg_v1.build_config(case).model)


def rates(model, keys):
    """Factor of each trained parameter, by our name."""
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=BASE, weight_decay=0.1),
            paramwise_cfg=dict(
                custom_keys={key: dict(lr_mult=m) for key, m in keys.items()}
            ),
        ),
    )
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(parameter)]: group['lr'] / BASE
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }


@pytest.mark.parametrize(
    ('key', 'prefixes'),
    [
        ('neck.conv1', ['decode_head.cost_embedding.']),
        ('neck.guidance_projection', ['decode_head.appearance_projection.']),
        ('text_guidance_projection', ['decode_head.text_projection.']),
        ('decode_head.decoder1', ['decode_head.upsample_blocks.0.']),
        ('decode_head.conv_seg', ['decode_head.head.']),
        (
            'neck.layers.0.spatial_agg.block_2.attn.w_msa.qk',
            [f'decode_head.layers.0.spatial.blocks.1.attn.{k}.' for k in 'qk'],
        ),
        ('layers.1.class_agg', ['decode_head.layers.1.classwise.']),
        (
            'backbone.clip_model.visual.transformer',
            ['backbone.clip.transformer.'],
        ),
        ('attn.in_proj_bias', ['backbone.clip.transformer.resblocks.']),
        ('feature_extractor.layer3', ['backbone.guidance.layer3.']),
        (
            'decode_head',
            [
                'decode_head.decoder_projections.',
                'decode_head.upsample_blocks.',
                'decode_head.head.',
            ],
        ),
    ],
)
def test_keys_are_parts_of_the_projects_names(model, key, prefixes):
    changed = [n for n, rate in rates(model, {key: 0.5}).items() if rate < 1]
    assert all(name.startswith(tuple(prefixes)) for name in changed)
    for prefix in prefixes:
        assert any(name.startswith(prefix) for name in changed), prefix


@pytest.mark.parametrize('reverse', [False, True])
def test_the_longest_key_counts(model, reverse):
    keys = {
        'backbone.clip_model.visual': 0.01,
        'backbone.clip_model': 0.1,
        'neck': 0.5,
        'neck.layers': 0.25,
    }
    found = rates(model, dict(sorted(keys.items(), reverse=reverse)))
    for name, rate in found.items():
        if name.startswith('backbone.clip.'):
            assert rate == pytest.approx(0.01)
        elif name.startswith('decode_head.layers.'):
            assert rate == 0.25
        elif name.startswith(('decode_head.cost', 'decode_head.app')):
            assert rate == 0.5
        elif name.startswith('backbone.guidance.'):
            assert rate == 1


def test_frozen_parameters_may_be_named(model):
    keys = {'backbone.clip_model.token_embedding': 0.1}
    assert set(rates(model, keys).values()) == {1.0}


@pytest.mark.parametrize('key', ['backbone.clip.', 'neck.conv2', 'upsample'])
def test_a_key_of_nothing_is_refused(model, key):
    with pytest.warns(UserWarning, match=rf"custom_keys has \['{key}'\]"):
        rates(model, {'neck': 0.1, key: 0.1})


def test_other_models_are_left_alone():
    layer = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    assert rates(layer, {'0.': 0.5, 'norm': 0.1}) == {
        '0.weight': 0.5,
        '0.bias': 0.5,
        '1.weight': 1,
        '1.bias': 1,
    }
