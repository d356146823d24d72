# SPDX-License-Identifier: Apache-2.0
"""Linear layers of large inputs on CPUs.

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
    than oneDNN on CPUs that are not Intel's. Large products without gradients
    take the operator of oneDNN that compiled models use.

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
    """Call a layer, by :func:`linear` if it is a plain linear layer.

    Args:
        layer (nn.Module): Layer. Quantised layers, layers with hooks, and
            layers that are not linear are called directly.
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
    """Call the layers of an MLP, one after the other, by :func:`apply_linear`.

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
