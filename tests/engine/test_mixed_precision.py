# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn

from ovseg_mm.engine import launch


@pytest.fixture
def cfg():
    wrapper = dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.1),
        clip_grad=dict(max_norm=1.0),
    )
    return Config(dict(optim_wrapper=wrapper))


def test_bfloat16_on_cpus(cfg, monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    launch.enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'AutocastOptimWrapper'
    assert cfg.optim_wrapper.clip_grad.max_norm == 1.0
    assert 'loss_scale' not in cfg.optim_wrapper


def test_float16_with_loss_scaling_on_gpus(cfg, monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    launch.enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'


def test_a_wrapper_of_the_users_choice_stays(cfg, monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    cfg.optim_wrapper.type = 'ApexOptimWrapper'
    launch.enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'ApexOptimWrapper'


def test_forward_is_in_bfloat16_and_weights_are_not():
    layer = nn.Linear(4, 3)
    before = layer.weight.detach().clone()
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type='AutocastOptimWrapper',
            optimizer=torch.optim.SGD(layer.parameters(), lr=0.1),
        )
    )
    x = torch.randn(5, 4)
    with wrapper.optim_context(layer):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    assert layer(x).dtype == torch.float32
    wrapper.update_params(out.float().square().sum())
    assert layer.weight.dtype == torch.float32
    assert not torch.equal(layer.weight, before)


def test_gradients_are_accumulated():
    layer = nn.Linear(4, 3)
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type='AutocastOptimWrapper',
            optimizer=torch.optim.SGD(layer.parameters(), lr=0.1),
            accumulative_counts=2,
        )
    )
    wrapper.initialize_count_status(layer, 0, 4)
    states = [layer.weight.detach().clone()]
    for _ in range(2):
        with wrapper.optim_context(layer):
            loss = layer(torch.ones(2, 4)).float().sum()
        wrapper.update_params(loss)
        states.append(layer.weight.detach().clone())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])
