# SPDX-License-Identifier: Apache-2.0
"""Faster linear layers for large inputs on CPUs.

Letters: N tokens, I input width, O output width.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import Linear as MMCVLinear
from torch import Tensor, nn

from .exporting import runs_as_written

# Smaller products take no less time with oneDNN.
LEAST_TOKENS = 128
LEAST_WEIGHTS = 1 << 16


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``torch.nn.functional.linear``, faster on many CPUs.

    PyTorch multiplies float32 matrices with MKL, which is up to 15 % slower
    than oneDNN on CPUs that are not Intel's. If gradients are disabled, this
    function computes large products with a oneDNN operator. Compiled models
    use the same operator.

    Args:
        x (Tensor): Inputs, (..., N, I).
        weight (Tensor): Weights, (O, I).
        bias (Tensor, optional): Bias, (O,). None: no bias.

    Returns:
        Tensor: Outputs, (..., N, O).
    """
    operator = _operator() if _is_eligible(x, weight) else None
    if operator is None:
        return F.linear(x, weight, bias)
    return operator(x, weight, bias, 'none', [], '')


def apply_linear(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer, with :func:`linear` if this is possible.

    Args:
        layer (nn.Module): Layer of any type. :func:`linear` computes the
            outputs of an ``nn.Linear`` or MMCV ``Linear`` without hooks. Any
            other layer, such as a quantised layer, is called as usual.
        x (Tensor): Inputs, (..., N, I).

    Returns:
        Tensor: Outputs, (..., N, O).
    """
    plain = type(layer) in (nn.Linear, MMCVLinear)
    if not plain or layer._forward_hooks or layer._forward_pre_hooks:
        return layer(x)
    weights: Any = layer
    return linear(x, weights.weight, weights.bias)


def apply_layers(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Apply the layers of an MLP in order, each with :func:`apply_linear`.

    Args:
        layers (Iterable[nn.Module]): Layers.
        x (Tensor): Inputs of the first layer, (..., N, I).

    Returns:
        Tensor: Outputs of the last layer, (..., N, O).
    """
    for layer in layers:
        x = apply_linear(layer, x)
    return x


def _is_eligible(x: Tensor, weight: Tensor) -> bool:
    return (
        runs_as_written()
        and x.device.type == 'cpu'
        and x.dtype == weight.dtype == torch.float32
        and weight.numel() >= LEAST_WEIGHTS
        and x.numel() >= LEAST_TOKENS * x.shape[-1]
        and not torch.is_autocast_cpu_enabled()
        # Traces know the operator of PyTorch only.
        and not torch.jit.is_tracing()
    )


@lru_cache(maxsize=1)
def _operator() -> Any:
    """Linear operator of oneDNN. None if PyTorch is built without it."""
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, '_linear_pointwise', None)
