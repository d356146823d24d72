# SPDX-License-Identifier: Apache-2.0
"""Results that the backward pass computes again instead of keeping them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *args: Any) -> Tensor:
    """Call a function and keep its arguments, not its intermediate results.

    For cheap steps (norms, activations, copies) before a matrix product. The
    backward pass repeats them, but not the product: PyTorch stops as soon as
    all inputs of the backward pass are there.

    Args:
        function (Callable): The function; draws no random numbers.
        args (Any): Its arguments.

    Returns:
        Tensor: Its result.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return function(*args)  # a compiler decides itself what to keep
    return checkpoint(
        function, *args, use_reentrant=False, preserve_rng_state=False
    )
