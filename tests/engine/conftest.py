# SPDX-License-Identifier: Apache-2.0
"""Runners of the tiny model, in this process."""

import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from ..end_to_end.conftest import TINY, tiny_data

__all__ = ['make_cfg', 'tiny_data']


def make_cfg(data: Path, work_dir: Path) -> Config:
    """The tiny config on its data, which trains for two iterations."""
    # Formatting the config's dump takes longer than the training.
    cfg = Config.fromfile(TINY, format_python_code=False)
    for part in ('train', 'val', 'test'):
        cfg[f'{part}_dataloader'].dataset.data_root = str(data)
    cfg.train_cfg.update(max_iters=2, val_interval=10)
    cfg.work_dir = str(work_dir)
    cfg.launcher = 'none'
    return cfg


@pytest.fixture
def tiny_cfg(tiny_data, tmp_path) -> Config:
    """The config of :func:`make_cfg` for one runner."""
    return make_cfg(tiny_data, tmp_path / 'work')


@pytest.fixture(scope='session')
def trained_file(tiny_data, tmp_path_factory) -> Path:
    """A checkpoint of two iterations."""
    cfg = make_cfg(tiny_data, tmp_path_factory.mktemp('engine') / 'work')
    Runner.from_cfg(cfg).train()
    return Path(cfg.work_dir) / 'iter_2.pth'


@pytest.fixture
def trained(trained_file, tmp_path) -> Path:
    """A copy of it, in a work folder of its own."""
    folder = tmp_path / 'work'
    folder.mkdir()
    copy = Path(shutil.copy(trained_file, folder))
    (folder / 'last_checkpoint').write_text(str(copy))
    return copy
