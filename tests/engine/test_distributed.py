# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys

import pytest
from mmengine.config import Config
from torch import nn

from ovseg_mm.engine import distributed

from ..conftest import free_port

# Each process has towers of its own weights, so that equal embeddings can
# only have come from one of them.
SCRIPT = """
import json, os, sys
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
import ovseg_mm
from ovseg_mm.engine import setup_cpu_processes
from ovseg_mm.vocabulary import load_vocabulary

cfg = Config(dict(
    launcher='pytorch', find_unused_parameters=True,
    model=dict(norm_cfg=dict(type='SyncBN'), list=[dict(type='SyncBN')]),
))
setup_cpu_processes(cfg)
rank = torch.distributed.get_rank()
torch.manual_seed(rank)
arch = dict(embed_dim=8, text_cfg=dict(width=16, heads=2, layers=1))
arch['vision_cfg'] = dict(
    image_size=8, layers=1, width=16, head_width=16, patch_size=8
)
encoder = MODELS.build(
    dict(type='mmseg.CLIPTextTransformer', arch=arch)
).eval()
calls = []
encoder.register_forward_hook(lambda *_: calls.append(1))
from ovseg_mm.models.text_encoder import TextBank

bank = TextBank()
words = load_vocabulary(['cat', 'dog|puppy', 'sky'])
bank.prepare(encoder, words)
text = bank(encoder, words)
seen = torch.nn.parallel.DistributedDataParallel(
    torch.nn.Linear(1, 1), device_ids=cfg.model_wrapper_cfg['device_ids']
)
with open(f'{sys.argv[1]}/{rank}.json', 'w') as file:
    json.dump(dict(
        calls=len(calls), text=text.tolist(), backend=torch.distributed
        .get_backend(), wrapper=dict(cfg.model_wrapper_cfg),
        model=cfg.model.to_dict(), threads=torch.get_num_threads(),
    ), file)
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_on_the_cpu(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)],
            env={
                **os.environ,
                'OVSEG_CACHE': str(tmp_path / f'cache{rank}'),
                'RANK': str(rank),
                'WORLD_SIZE': '2',
                'MASTER_ADDR': '127.0.0.1',
                'MASTER_PORT': port,
            },
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    first, second = (
        json.loads((tmp_path / f'{rank}.json').read_text())
        for rank in range(2)
    )
    assert (first['calls'], second['calls']) == (1, 0)
    assert first['text'] == second['text']
    assert first['backend'] == 'gloo'
    assert first['wrapper'] == dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=True,
        device_ids=None,
    )
    assert 'SyncBN' not in json.dumps(first['model'])
    assert not (tmp_path / 'cache1').exists()


@pytest.fixture
def no_group(monkeypatch):
    def fail(*args, **kwargs):
        pytest.fail('a process group was made')

    monkeypatch.setattr(distributed.distributed, 'init_process_group', fail)


def test_nothing_happens_without_a_launcher_or_with_a_gpu(
    no_group, monkeypatch
):
    cfg = Config(dict(launcher='none', norm=dict(type='SyncBN')))
    distributed.setup_cpu_processes(cfg)
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cuda')
    cfg.launcher = 'pytorch'
    distributed.setup_cpu_processes(cfg)
    assert cfg.norm.type == 'SyncBN'
    assert 'model_wrapper_cfg' not in cfg


def test_other_launchers_need_gpus(no_group, monkeypatch):
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    with pytest.raises(ValueError, match="launcher='slurm' needs GPUs"):
        distributed.setup_cpu_processes(Config(dict(launcher='slurm')))


def test_unwrap():
    inner = nn.Linear(1, 1)
    wrapped = nn.Module()
    wrapped.module = nn.Module()
    wrapped.module.module = inner
    assert distributed.unwrap(wrapped) is inner
    assert distributed.unwrap(inner) is inner
