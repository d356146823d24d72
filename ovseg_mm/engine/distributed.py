# SPDX-License-Identifier: Apache-2.0
"""Set up runs with several processes, on GPUs or CPUs."""

import os
from datetime import timedelta
from typing import Any, cast

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import init_dist
from mmengine.registry import MODELS, RUNNERS, STRATEGIES
from mmengine.runner import Runner
from torch import distributed, nn

from ovseg_mm.utils.config_types import is_type, type_of
from ovseg_mm.utils.errors import InputError

# Seconds that a finished process waits for other processes.
_PATIENCE = 30 * 24 * 60 * 60


def setup_cpu_processes(cfg: Config) -> None:
    """Prepare a config for a distributed run on CPUs.

    MMEngine needs a GPU to create a process group, but also works with an
    existing process group. This function therefore creates a process group
    with the backend gloo. It also removes GPU ids from the model wrapper and
    replaces SyncBN by BN.

    The function does nothing if ``cfg.launcher`` is ``'none'`` or the machine
    has an accelerator. Call it before building the runner.

    Args:
        cfg (Config): Config of the run, changed in place.
    """
    if cfg.get('launcher', 'none') == 'none' or get_device() != 'cpu':
        return
    _check_cpu_launcher(cfg.launcher)
    distributed.init_process_group('gloo')
    runner = dict(type=cfg.get('runner_type', Runner))
    if type_of(runner, RUNNERS) is Runner:
        wrapper = dict(cfg.get('model_wrapper_cfg') or {})
        wrapper.setdefault('type', 'MMDistributedDataParallel')
        wrapper.setdefault('broadcast_buffers', False)
        wrapper.setdefault(
            'find_unused_parameters', cfg.get('find_unused_parameters', False)
        )
        wrapper['device_ids'] = None
        # Assigned as a whole, because wrapper is a copy.
        cfg.model_wrapper_cfg = wrapper
    elif is_type(cfg.strategy, FSDPStrategy, STRATEGIES):
        wrapper = dict(cfg.strategy.get('model_wrapper') or {})
        wrapper.setdefault('type', 'MMFullyShardedDataParallel')
        wrapper['device_id'] = 'cpu'
        cfg.strategy.model_wrapper = wrapper
    _replace_sync_bn(cfg)
    _share_threads()


def join_processes(launcher: str) -> tuple[int, int]:
    """Connect processes that share the work on a list of files.

    The function is not for training: the processes wait for each other only
    at the start and at the end. The timeout is 30 days, because a process may
    finish its files much earlier than another process.

    Args:
        launcher (str): How the processes were started: ``'none'`` (one
            process), ``'pytorch'`` (torchrun) or ``'slurm'`` (only with
            GPUs).

    Returns:
        tuple[int, int]: Rank of this process and number of processes.

    Raises:
        InputError: If the processes were not started by ``launcher``.
    """
    if launcher == 'none':
        return 0, 1
    wanted = dict(
        pytorch=('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'LOCAL_RANK'),
        slurm=('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
    )[launcher]
    missing = [name for name in wanted if name not in os.environ]
    if missing:
        start = dict(pytorch='torchrun --nproc_per_node N -m', slurm='srun')
        raise InputError(
            f'--launcher {launcher} needs the environment variable '
            f'{missing[0]}; start the command with {start[launcher]}, or '
            'omit --launcher to run one process'
        )
    if get_device() == 'cpu':
        _check_cpu_launcher(launcher)
        distributed.init_process_group(
            'gloo', timeout=timedelta(seconds=_PATIENCE)
        )
        _share_threads()
    else:
        init_dist(launcher, backend='gloo', timeout=_PATIENCE)
    return distributed.get_rank(), distributed.get_world_size()


def unwrap(model: nn.Module) -> nn.Module:
    """Get the segmentor from a model that may be wrapped.

    Args:
        model (nn.Module): Model of a runner, with or without wrappers for
            distributed training or test-time augmentation.

    Returns:
        nn.Module: The segmentor; ``model`` itself if there is no wrapper.
    """
    while hasattr(model, 'module'):
        model = cast(nn.Module, model.module)
    return model


def _check_cpu_launcher(launcher: str) -> None:
    if launcher != 'pytorch':
        raise InputError(
            f"launcher={launcher!r} needs GPUs; on CPUs use 'pytorch'"
        )


def _share_threads() -> None:
    threads = max(1, torch.get_num_threads() // distributed.get_world_size())
    torch.set_num_threads(threads)


def _replace_sync_bn(node: Any) -> None:
    """Replace SyncBN by BN in a config, since SyncBN fails on CPUs."""
    if isinstance(node, (dict, Config)):
        if is_type(node, nn.SyncBatchNorm, MODELS):
            node['type'] = 'BN'
        for value in node.values():
            _replace_sync_bn(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _replace_sync_bn(value)
