# SPDX-License-Identifier: Apache-2.0
"""Configs get our hooks, and a precision that this machine has."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper

from ovseg_mm.engine import (
    AutocastOptimWrapper,
    FiniteLossHook,
    VocabularyHook,
    adapt_config,
)
from ovseg_mm.engine.adapt_config import add_missing_hooks, replace_amp_on_cpu
from ovseg_mm.engine.launch import build_runner
from ovseg_mm.models import OpenVocabSegmentor
from ovseg_mm.utils.errors import InputError

NAMES = ['CheckpointGuardHook', 'FiniteLossHook', 'VocabularyHook']


@pytest.mark.parametrize(
    'model',
    [
        dict(type='OpenVocabSegmentor'),
        dict(type=OpenVocabSegmentor),
        dict(type='SegTTAModel', module=dict(type='OpenVocabSegmentor')),
    ],
)
def test_hooks_that_a_config_does_not_list(model):
    cfg = Config(dict(model=model))
    add_missing_hooks(cfg)
    assert [hook['type'] for hook in cfg.custom_hooks] == NAMES
    add_missing_hooks(cfg)
    assert len(cfg.custom_hooks) == 3


def test_listed_hooks_stay():
    hooks = [dict(type=VocabularyHook, priority='LOW'), dict(type='EMAHook')]
    cfg = Config(
        dict(model=dict(type='OpenVocabSegmentor'), custom_hooks=hooks)
    )
    add_missing_hooks(cfg)
    assert cfg.custom_hooks[:2] == hooks
    assert [hook['type'] for hook in cfg.custom_hooks[2:]] == NAMES[:2]


def test_other_models_get_no_hooks():
    cfg = Config(dict(model=dict(type='EncoderDecoder')))
    add_missing_hooks(cfg)
    assert 'custom_hooks' not in cfg


@pytest.mark.parametrize('hooks', [None, []])
def test_classes_are_compared_without_hooks_in_the_config(tiny_cfg, hooks):
    words = ['green disc', 'red square', 'blue', 'grass']
    tiny_cfg.model.vocabulary = words
    if hooks is None:
        tiny_cfg.pop('custom_hooks')
    else:
        tiny_cfg.custom_hooks = hooks
    runner = build_runner(tiny_cfg)
    assert any(isinstance(hook, FiniteLossHook) for hook in runner.hooks)
    with pytest.raises(InputError, match='green disc'):
        runner.train()


@pytest.mark.parametrize('kind', ['AmpOptimWrapper', AmpOptimWrapper])
def test_amp_of_a_config_on_a_cpu(tiny_cfg, kind, monkeypatch):
    monkeypatch.setattr(adapt_config, 'get_device', lambda: 'cpu')
    tiny_cfg.optim_wrapper.update(
        type=kind, loss_scale=512.0, dtype='float16', accumulative_counts=2
    )
    runner = build_runner(tiny_cfg)
    weight = next(iter(runner.model.decode_head.parameters()))
    before = weight.detach().clone()
    runner.train()
    assert type(runner.optim_wrapper) is AutocastOptimWrapper
    assert runner.optim_wrapper._accumulative_counts == 2
    assert weight.dtype == torch.float32
    assert not torch.equal(weight, before)


def test_amp_of_a_config_on_a_gpu(monkeypatch):
    monkeypatch.setattr(adapt_config, 'get_device', lambda: 'cuda')
    wrapper = dict(type='AmpOptimWrapper', loss_scale=512.0)
    cfg = Config(dict(optim_wrapper=wrapper))
    replace_amp_on_cpu(cfg)
    assert cfg.optim_wrapper == wrapper
