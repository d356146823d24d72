# SPDX-License-Identifier: Apache-2.0
"""A loss that is not a number ends a training; nothing of it is saved."""

import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.structures import SegDataSample

from ovseg_mm.engine import FiniteLossHook
from ovseg_mm.toy.world import write_toy_world
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import resource

from ...conftest import free_port

TRAINED = [
    path
    for path in sorted(resource('configs', 'toy').glob('*.py'))
    if 'train_cfg' in Config.fromfile(path)
]


class Spoil(Hook):
    """Makes a weight NaN before an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            last = list(runner.model.decode_head.parameters())[-1]
            torch.nn.init.constant_(last, float('nan'))


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp('home')
    write_toy_world(root / 'data' / 'toy_world', 10, 2)
    return root


@pytest.mark.slow
@pytest.mark.parametrize('path', TRAINED, ids=lambda path: path.stem)
def test_every_method_ends(path, home, monkeypatch):
    monkeypatch.chdir(home)
    cfg = Config.fromfile(path)
    cfg.load_from = None
    cfg.train_cfg.update(max_iters=4, val_interval=10)
    cfg.default_hooks.checkpoint.interval = 1
    cfg.work_dir = f'work_dirs/{path.stem}'
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Spoil(1))
    with pytest.raises(InputError) as error:
        runner.train()
    message = str(error.value)
    assert message.startswith('the loss of iteration 2 is not a finite number')
    assert 'data/toy_world/images/train' in message
    saved = {name for name in os.listdir(cfg.work_dir) if '.pth' in name}
    assert saved == {'iter_1.pth'}


def batch_of(*paths) -> dict:
    samples = [SegDataSample(metainfo=dict(img_path=path)) for path in paths]
    return dict(inputs=[], data_samples=samples)


def look(outputs, batch=None, iteration=6):
    FiniteLossHook().after_train_iter(
        SimpleNamespace(iter=iteration), 0, batch, outputs
    )


@pytest.mark.parametrize('value', ['nan', 'inf', '-inf'])
def test_the_message_names_all_that_helps(value):
    outputs = {
        'loss': torch.tensor(float(value)),
        'decode.loss_ce': torch.tensor(float(value)),
        'decode.loss_dice': torch.tensor(0.5),
        'decode.acc_seg': torch.tensor(float('nan')),
    }
    with pytest.raises(InputError) as error:
        look(outputs, batch_of('a.png', 'b.png'))
    assert str(error.value).startswith(
        f'the loss of iteration 7 is not a finite number (loss is {value}, '
        f'decode.loss_ce is {value}); files of the batch: a.png, b.png; '
    )


def test_large_batches_are_cut():
    names = [f'{number}.png' for number in range(20)]
    with pytest.raises(InputError, match=r'7\.png and 12 more; check'):
        look({'loss': torch.tensor(float('nan'))}, batch_of(*names))


def test_other_batches():
    nan = {'loss': torch.tensor(float('nan'))}
    with pytest.raises(InputError, match=r'batch: crop\.jpg;'):
        look(nan, dict(crop_paths=['crop.jpg'], captions=['cat']))
    for batch in (None, [], {}, dict(inputs=[])):
        with pytest.raises(InputError, match='the batch: unknown;'):
            look(nan, batch)


def test_finite_losses_pass():
    look({'loss': torch.tensor(3e38), 'acc': torch.tensor(float('nan'))})
    look({'loss': 0.5, 'decode.loss_ce': torch.tensor(0.5).half()})
    look(None)


def test_losses_with_gradients_draw_no_warning():
    loss = torch.ones((), requires_grad=True) * 2
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        look({'loss': loss})
    with pytest.raises(InputError, match='loss is nan'):
        look({'loss': loss * float('nan')})


SCRIPT = """
import sys
from types import SimpleNamespace
import torch
from mmseg.structures import SegDataSample
import ovseg_mm
from ovseg_mm.engine import FiniteLossHook

torch.distributed.init_process_group('gloo')
rank = torch.distributed.get_rank()
sample = SegDataSample(metainfo=dict(img_path=f'{rank}.png'))
for iteration in range(3):
    loss = float('nan') if (rank, iteration) == (1, 1) else 1.0
    try:
        FiniteLossHook().after_train_iter(
            SimpleNamespace(iter=iteration), 0, dict(data_samples=[sample]),
            dict(loss=torch.tensor(loss)),
        )
    except ValueError as error:
        print(error)
        sys.exit(2)
"""


@pytest.mark.slow
def test_all_processes_end(tmp_path):
    """The loss of one of two processes is not a number."""
    (tmp_path / 'script.py').write_text(SCRIPT)
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / 'script.py')],
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                'RANK': str(rank),
                'WORLD_SIZE': '2',
                'MASTER_ADDR': '127.0.0.1',
                'MASTER_PORT': port,
            },
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    for text in printed:
        assert 'iteration 2 is not a finite number' in text
        assert 'the batch: 1.png;' in text and '0.png' not in text
