# SPDX-License-Identifier: Apache-2.0
"""Every config of the toy world works at its true size.

It trains, its checkpoint is resumed and reloaded, and it tests.
"""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from ovseg_mm.engine.weights import load_weights
from ovseg_mm.toy.world import write_toy_world

from ..conftest import forget_runs
from .conftest import ROOT

CONFIGS = sorted((ROOT / 'configs' / 'toy').glob('*.py'))


@pytest.fixture(scope='module')
def home(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('home')
    write_toy_world(root / 'data' / 'toy_world', 10, 4)
    return root


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_toy_config_trains_and_tests(path, home, monkeypatch):
    monkeypatch.chdir(home)
    cfg = Config.fromfile(path)
    cfg.load_from = None  # a first stage that was not trained here
    cfg.work_dir = f'work_dirs/{path.stem}'
    if 'train_cfg' in cfg:
        cfg.train_cfg.update(max_iters=2, val_interval=10)
    runner = Runner.from_cfg(cfg)
    if 'train_cfg' in cfg:
        runner.train()
        checkpoint = Path(cfg.work_dir) / 'iter_2.pth'
        forget_runs()
        cfg.resume = True
        cfg.train_cfg.max_iters = 3
        runner = Runner.from_cfg(cfg)
        runner.train()
        assert runner.iter == 3
        load_weights(runner.model, str(checkpoint))
    metrics = runner.test()
    assert {'mIoU_seen', 'mIoU_unseen', 'hIoU'} <= metrics.keys()
