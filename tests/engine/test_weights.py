# SPDX-License-Identifier: Apache-2.0
"""Weights of models that predict: from a checkpoint or from CLIP alone."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from ovseg_mm.apis import OpenVocabInferencer
from ovseg_mm.engine.weights import load_weights
from ovseg_mm.models.clip_towers import parameters_of_no_file
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import resource

BASE = resource('configs', '_base_', 'models', 'training-free_clip-toy.py')


def config(**options) -> Config:
    cfg = Config.fromfile(BASE)
    cfg.model.vocabulary = ['striped red', 'grass']
    cfg.merge_from_dict(options)
    return cfg


def build(**options):
    init_default_scope('mmseg')
    return MODELS.build(config(**options).model)


@pytest.mark.parametrize('checkpoint', [None, 'none'])
def test_clip_fills_a_model_that_learns_nothing(checkpoint):
    # Towers that require gradients are not filled when they are built.
    model = build(**{'model.clip.finetune': 'all'})
    empty = {k: v.clone() for k, v in model.state_dict().items()}
    loaded = load_weights(model, checkpoint)
    assert loaded.source is None and 'no checkpoint' in loaded.text
    expected = build().state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert any(
        not torch.equal(t, empty[n]) for n, t in model.state_dict().items()
    )


def test_hash_without_a_checkpoint_is_that_of_the_tensors():
    model, other = build(), build()
    loaded = load_weights(model, None)
    assert loaded.sha256(model) == loaded.sha256(other)
    with torch.no_grad():
        other.backbone.proj[0, 0] += 1
    assert loaded.sha256(model) != loaded.sha256(other)


@pytest.mark.parametrize(
    ('options', 'name'),
    [
        ({'model.clip.custom_clip_weights': None}, r'backbone\.\w+'),
        (
            {
                'model.backbone.prompts.depth': 1,
                'model.backbone.prompts.length': 2,
            },
            r'backbone\.prompt_tokens',
        ),
    ],
)
def test_what_clip_does_not_fill_needs_a_checkpoint(options, name):
    model = build(**options)
    with pytest.raises(
        InputError, match=f'needs a checkpoint: .* such as {name} are'
    ):
        load_weights(model, None)


def test_pretrained_parts_need_no_checkpoint(tmp_path):
    model = build()
    path = tmp_path / 'scale.pth'
    torch.save(dict(state_dict=dict(weight=torch.full((1, 1), 7.0))), path)

    class Scale(BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.weight = torch.nn.Parameter(torch.ones(1, 1))

    model.decode_head.scale = Scale()
    assert parameters_of_no_file(model) == ['decode_head.scale.weight']
    rule = dict(type='Pretrained', checkpoint=str(path))
    model.decode_head.scale = Scale(rule)
    assert parameters_of_no_file(model) == []
    load_weights(model, None)
    assert model.decode_head.scale.weight.item() == 7


def test_clip_file_is_a_checkpoint_of_a_model_without_others():
    model = build(**{'model.clip.custom_clip_weights': None})
    path = resource('data', 'toy_clip.safetensors')
    loaded = load_weights(model, path)
    assert loaded.source == path
    expected = build().state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name].to(tensor)), name


def test_inferencer_without_a_checkpoint(capsys):
    cfg = config()
    result = OpenVocabInferencer(cfg, device='cpu')(
        np.full((64, 64, 3), 128, np.uint8), ['grass', 'striped red']
    )
    assert result.labels.shape == (64, 64)
    assert 'backbone.' not in capsys.readouterr().out, 'a line a parameter'
