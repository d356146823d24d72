# SPDX-License-Identifier: Apache-2.0
"""Mixed precision, and functions that always compute in float32."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


def amp_dtype(device_type: str) -> torch.dtype:
    """Data type of mixed precision: bfloat16 on CPUs, float16 elsewhere."""
    return torch.bfloat16 if device_type == 'cpu' else torch.float16


def mixed_precision(
    device: torch.device, enabled: bool = True
) -> torch.autocast:
    """Context manager for mixed precision (autocast).

    Args:
        device (torch.device): Device of the model.
        enabled (bool): Whether layers compute in half precision.

    Returns:
        torch.autocast: The context manager.
    """
    return torch.autocast(device.type, amp_dtype(device.type), enabled=enabled)


def in_float32(function: Callable) -> Callable:
    """Decorator that makes a function compute in float32.

    Autocast is disabled inside the function, and its tensor arguments in half
    precision are converted to float32. Functions that compare scores of
    classes use this decorator, because many scores in half precision are
    equal.

    Args:
        function (Callable): Function with at least one tensor argument.

    Returns:
        Callable: The decorated function.
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
