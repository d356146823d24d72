# SPDX-License-Identifier: Apache-2.0
"""Choice of the device and of the precision of matrix products."""

import torch
from mmengine.config import Config
from mmengine.device import get_device

from .errors import InputError

MATMUL_PRECISIONS = ('highest', 'high', 'medium')


def resolve_device(name: str | None) -> str:
    """Choose a device and check that it works.

    Args:
        name (str, optional): Name of the device, such as ``'cuda:0'``. None:
            an accelerator if there is one, otherwise the CPU.

    Returns:
        str: Name of the device.

    Raises:
        InputError: If the device does not exist or does not work.
    """
    best = get_device()
    name = name or best
    try:
        torch.ones(1, device=name).item()
    except (AssertionError, ImportError, RuntimeError) as error:
        reason = str(error).strip().partition('\n')[0]
        raise InputError(
            f'the device {name!r} cannot be used ({reason}); use '
            f'{best!r} on this machine'
        ) from error
    return name


def set_matmul_precision(cfg: Config, device: str | None = None) -> None:
    """Set the precision of float32 matrix products on GPUs.

    The config sets the precision as ``env_cfg.float32_matmul_precision``; for
    its values, see :func:`torch.set_float32_matmul_precision`. Nothing changes
    if the config has no such setting, or if the device is not a GPU.

    Args:
        cfg (Config): Config of a run or model.
        device (str, optional): Device of the model. None: a GPU if there is
            one.

    Raises:
        InputError: If PyTorch has no such precision.
    """
    precision = (cfg.get('env_cfg') or {}).get('float32_matmul_precision')
    if precision is None:
        return
    if precision not in MATMUL_PRECISIONS:
        raise InputError(
            f'env_cfg.float32_matmul_precision={precision!r}; '
            f'expected one of {", ".join(MATMUL_PRECISIONS)}'
        )
    if (device or get_device()).startswith('cuda'):
        torch.set_float32_matmul_precision(precision)
