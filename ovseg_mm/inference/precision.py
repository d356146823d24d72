# SPDX-License-Identifier: Apache-2.0
"""Mixed precision, and steps that run in float32 despite it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


def amp_dtype(device_type: str) -> torch.dtype:
    """Data type of mixed precision: float16 on GPUs, bfloat16 on CPUs."""
    return torch.bfloat16 if device_type == 'cpu' else torch.float16


def mixed_precision(
    device: torch.device, enabled: bool = True
) -> torch.autocast:
    """Context in which layers compute in half precision.

    Args:
        device (torch.device): Device of the model.
        enabled (bool): Whether they do.

    Returns:
        torch.autocast: The context.
    """
    return torch.autocast(device.type, amp_dtype(device.type), enabled=enabled)


def in_float32(function: Callable) -> Callable:
    """Run a function of tensors in float32.

    Autocast is switched off inside the function, and tensors of half
    precision among its arguments become float32. For steps whose result
    decides between classes: half precision has so few digits that the scores
    of several classes become equal.

    Args:
        function (Callable): At least one of its arguments is a tensor.

    Returns:
        Callable: The function, whose result is not in half precision.
    """

    @wraps(function)
    def in_full_precision(*args: Any, **kwargs: Any) -> Any:
        found = (*args, *kwargs.values())
        device = next(x.device.type for x in found if isinstance(x, Tensor))
        with torch.autocast(device, enabled=False):
            return function(
                *map(_float, args),
                **{key: _float(value) for key, value in kwargs.items()},
            )

    return in_full_precision


def _float(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in HALF:
        return value.float()
    return value
