# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.config import Config

from ovseg_mm.engine.launch import build_runner
from ovseg_mm.utils import devices
from ovseg_mm.utils.errors import InputError


@pytest.fixture
def set_to(monkeypatch):
    """Precisions that were set, on a machine whose best device is a GPU."""
    found = []
    monkeypatch.setattr(devices, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(torch, 'set_float32_matmul_precision', found.append)
    return found


def test_matmul_precision_of_a_config_is_for_gpus(set_to, monkeypatch):
    cfg = Config(dict(env_cfg=dict(float32_matmul_precision='high')))
    devices.set_matmul_precision(cfg)
    devices.set_matmul_precision(cfg, 'cuda:1')
    assert set_to == ['high', 'high']
    devices.set_matmul_precision(cfg, 'cpu')
    monkeypatch.setattr(devices, 'get_device', lambda: 'cpu')
    devices.set_matmul_precision(cfg)
    assert set_to == ['high', 'high']


@pytest.mark.parametrize('env_cfg', [None, {}, dict(cudnn_benchmark=True)])
def test_without_the_setting_it_stays(set_to, env_cfg):
    devices.set_matmul_precision(Config(dict(env_cfg=env_cfg)))
    assert set_to == []


def test_a_precision_that_does_not_exist():
    cfg = Config(dict(env_cfg=dict(float32_matmul_precision='tf32')))
    with pytest.raises(InputError, match="'tf32'; expected one of high"):
        build_runner(cfg)
