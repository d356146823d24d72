# SPDX-License-Identifier: Apache-2.0
"""The six released models of Cascade-CLIP."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from ovseg_mm.checkpoints import LAYOUTS, recognise
from ovseg_mm.utils.paths import resource

CASE = (
    Path(__file__).parents[1]
    / 'parity/cases/cascade_clip/vitb16_512/case.json'
)
# Data set, prompts, and classes of the loss of both stages.
RELEASED = [
    ('20k_pascal-voc20-15-5', 10, 15),
    ('8-10k_pascal-voc20-15-5-transductive', 10, 20),
    ('40k_pascal-context-59-49-10-cascade', 35, 49),
    ('20k_pascal-context-59-49-10-cascade-transductive', 35, 49),
    ('80k_coco-stuff164k-156-15', 50, 156),
    ('40k_coco-stuff164k-156-15-transductive', 50, 156),
]


def published(prompts, classes):
    """Tensors of a released file, without memory."""
    case = json.loads(CASE.read_text())
    shapes = {
        entry['name']: tuple(entry['shape']) for entry in case['parameters']
    }
    shapes['backbone.prompt_embeddings'] = (1, prompts, 768)
    shapes['backbone.deep_prompt_embeddings'] = (11, prompts, 768)
    shapes['decode_head.loss_decode.criterion.empty_weight'] = (classes + 1,)
    for index in range(12):
        block = f'text_encoder.transformer.resblocks.{index}.'
        for name, shape in (
            ('attn.in_proj_weight', (1536, 512)),
            ('attn.in_proj_bias', (1536,)),
            ('attn.out_proj.weight', (512, 512)),
            ('attn.out_proj.bias', (512,)),
            ('ln_1.weight', (512,)),
            ('ln_1.bias', (512,)),
            ('ln_2.weight', (512,)),
            ('ln_2.bias', (512,)),
            ('mlp.c_fc.weight', (2048, 512)),
            ('mlp.c_fc.bias', (2048,)),
            ('mlp.c_proj.weight', (512, 2048)),
            ('mlp.c_proj.bias', (512,)),
        ):
            shapes[block + name] = shape
    shapes['text_encoder.token_embedding.weight'] = (49408, 512)
    shapes['text_encoder.positional_embedding'] = (77, 512)
    shapes['text_encoder.text_projection'] = (512, 512)
    shapes['text_encoder.ln_final.weight'] = (512,)
    shapes['text_encoder.ln_final.bias'] = (512,)
    return {
        name: torch.empty(shape, device='meta')
        for name, shape in shapes.items()
    }


def model_of(name):
    """Model of a shipped config, without memory."""
    (path,) = resource('configs').glob(f'cascade_clip/*{name}-512x512.py')
    cfg = Config.fromfile(path)
    init_default_scope('mmseg')
    with torch.device('meta'):
        return MODELS.build(cfg.model)


@pytest.mark.parametrize(('name', 'prompts', 'classes'), RELEASED)
def test_released_files_fill_the_models_of_their_configs(
    name, prompts, classes
):
    tensors = published(prompts, classes)
    assert len(tensors) == 527
    layout = recognise(tensors)
    assert (layout.name, layout.method) == ('cascade_clip', 'Cascade-CLIP')
    converted = layout.convert(tensors)
    assert converted.unused == []
    found = {
        key: tuple(value.shape) for key, value in converted.state_dict.items()
    }
    expected = {
        key: tuple(value.shape)
        for key, value in model_of(name).state_dict().items()
    }
    assert found == expected


def test_what_never_gets_a_gradient_is_dropped():
    tensors = published(50, 156)
    dropped = recognise(tensors).convert(tensors).dropped
    case = json.loads(CASE.with_name('case.json').read_text())
    train = json.loads(
        (CASE.parents[1] / 'tiny_train' / 'case.json').read_text()
    )
    dead = set(train['parameters_without_gradient']['inductive'])
    assert set(dropped) == dead | {
        'decode_head.loss_decode.criterion.empty_weight'
    }
    assert case['method'] == train['method']


def test_our_names_are_no_published_layout():
    tensors = published(10, 15)
    ours = recognise(tensors).convert(tensors).state_dict
    assert LAYOUTS.find(ours) is None
