# SPDX-License-Identifier: Apache-2.0
"""Training that is sharded over two processes."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from .conftest import ROOT, data_options, metrics_of, run_two_ranks

pytestmark = pytest.mark.slow
SHARDED = ROOT / 'tests' / 'end_to_end' / 'tiny_v1_fsdp.py'
WHOLE = ROOT / 'tests' / 'end_to_end' / 'tiny_v1.py'


def train(config, data, folder, iterations, *options):
    return run_two_ranks(
        *(ROOT / 'tools' / 'train.py', config, '--launcher', 'pytorch'),
        *('--work-dir', folder, *options, '--cfg-options'),
        *data_options(data),
        f'train_cfg.max_iters={iterations}',
        f'train_cfg.val_interval={iterations}',
        cwd=folder.parent,
    )


@pytest.fixture(scope='module')
def runs(tiny_data, tmp_path_factory):
    """Folders of a whole run and of a sharded one."""
    root = tmp_path_factory.mktemp('sharding')
    train(WHOLE, tiny_data, root / 'whole', 4)
    train(SHARDED, tiny_data, root / 'sharded', 4)
    return root


def test_it_gives_the_weights_of_unsharded_training(runs):
    whole, sharded = (
        torch.load(runs / name / 'iter_4.pth')['state_dict']
        for name in ('whole', 'sharded')
    )
    assert whole.keys() == sharded.keys()
    for name, weights in whole.items():
        torch.testing.assert_close(
            sharded[name], weights, rtol=1e-4, atol=1e-6, msg=name
        )


def test_its_checkpoints_are_tested_like_others(runs, tool, tiny_data):
    metrics = []
    for config in (WHOLE, SHARDED):
        status, printed = tool(
            *('test', config, runs / 'sharded' / 'iter_4.pth'),
            *('--work-dir', runs / 'x'),
            *('--cfg-options', *data_options(tiny_data)),
        )
        assert status == 0, printed
        metrics.append(metrics_of(printed))
    assert metrics[0] == metrics[1]


def test_it_is_resumed(runs, tiny_data):
    output = train(SHARDED, tiny_data, runs / 'sharded', 6, '--resume')
    assert 'resumed epoch: 0, iter: 4' in output
    content = torch.load(runs / 'sharded' / 'iter_6.pth')
    steps = {float(s['step']) for s in content['optimizer']['state'].values()}
    assert steps == {6.0}


# Looks at the model of a training run instead of training it.
LOOK = f"""
import os
import sys
from pathlib import Path
from mmengine.runner import FlexibleRunner
from torch.distributed.algorithms._checkpoint import checkpoint_wrapper
from torch.distributed.fsdp import FullyShardedDataParallel

def look(runner):
    def count(module, kind):
        return sum(isinstance(part, kind) for part in module.modules())

    model = runner.model.module
    assert count(model, FullyShardedDataParallel) == 3
    backbone = model.backbone
    assert count(backbone, checkpoint_wrapper.CheckpointWrapper) == 3
    assert count(model.text_encoder, FullyShardedDataParallel) == 0
    # The text encoder is whole on each rank.
    parameters = dict(model.named_parameters())
    numbers = sum(
        parameter.numel() for name, parameter in parameters.items()
        if not name.startswith('text_encoder')
    )
    Path('numbers_' + os.environ['RANK']).write_text(str(numbers))

FlexibleRunner.load_or_resume = look
sys.path.insert(0, {str(ROOT / 'tools')!r})
import train
sys.exit(train.main())
"""


def test_blocks_are_sharded_and_computed_again(tiny_data, tmp_path):
    script = tmp_path / 'look.py'
    script.write_text(LOOK)
    run_two_ranks(
        *(script, SHARDED),
        *('--launcher', 'pytorch', '--work-dir', tmp_path / 'work'),
        *('--cfg-options', *data_options(tiny_data)),
        'train_cfg.max_iters=1',
        cwd=tmp_path,
    )
    first, second = (
        int((tmp_path / f'numbers_{rank}').read_text()) for rank in (0, 1)
    )
    init_default_scope('mmseg')
    model = MODELS.build(Config.fromfile(WHOLE).model)
    whole = sum(parameter.numel() for parameter in model.parameters())
    text = sum(p.numel() for p in model.text_encoder.parameters())
    assert first + second == whole - text
    assert abs(first - second) < 0.02 * whole
