# SPDX-License-Identifier: Apache-2.0
"""Results that the backward pass computes again, to save memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .exporting import is_compiling


def recomputed(function: Callable[..., Tensor], *args: Any) -> Tensor:
    """Call a function without keeping its intermediate results.

    The backward pass computes these results again from the arguments. This
    saves memory if cheap steps (norms, activations, copies) come before a
    matrix product. The backward pass needs the inputs of the product, but not
    its result. PyTorch therefore stops the second computation before the
    product, so the product is computed only once.

    Args:
        function (Callable): Function that draws no random numbers.
        *args (Any): Arguments of the function.

    Returns:
        Tensor: Result of the function.
    """
    if not torch.is_grad_enabled() or is_compiling():
        return function(*args)  # torch.compile decides what to keep
    return checkpoint(
        function, *args, use_reentrant=False, preserve_rng_state=False
    )
