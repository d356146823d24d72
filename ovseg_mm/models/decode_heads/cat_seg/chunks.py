# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import torch
from torch import Tensor

# Class maps that are worked on at a time without gradients: enough to keep a
# processor busy, few enough to keep the memory small.
MAPS_AT_A_TIME = 64


def apply_to_class_chunks(
    function: Callable[[Tensor], Tensor], x: Tensor
) -> Tensor:
    """``function(x)`` for a function that treats class maps independently.

    Without gradients it is applied to a few classes at a time, which bounds
    the memory and does not change the result.

    Args:
        function (Callable): Takes and gives tensors whose second axis is the
            class axis.
        x (Tensor): (B, T, ...).

    Returns:
        Tensor: The function's result, (B, T, ...).
    """
    step = max(1, MAPS_AT_A_TIME // len(x))
    if torch.is_grad_enabled() or x.shape[1] <= step:
        return function(x)
    first = function(x[:, :step])
    out = first.new_empty((len(x), x.shape[1], *first.shape[2:]))
    out[:, :step] = first
    for start in range(step, x.shape[1], step):
        out[:, start : start + step] = function(x[:, start : start + step])
    return out
