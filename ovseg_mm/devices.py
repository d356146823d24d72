# SPDX-License-Identifier: Apache-2.0
"""Where models compute."""

import torch
from mmengine.device import get_device

from ovseg_mm.errors import InputError


def usable_device(name: str | None) -> str:
    """A device by name, after a look whether it computes.

    Args:
        name (str, optional): Such as ``'cuda:0'``. None: the best one.

    Returns:
        str: Its name.

    Raises:
        ValueError: If there is no such device, or it does not work.
    """
    best = get_device()
    name = name or best
    try:
        torch.ones(1, device=name).item()
    except (AssertionError, ImportError, RuntimeError) as error:
        reason = str(error).strip().partition('\n')[0]
        raise InputError(
            f'the device {name!r} cannot be used ({reason}); the best one '
            f'here is {best!r}'
        ) from error
    return name
