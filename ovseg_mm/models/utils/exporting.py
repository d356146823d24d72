# SPDX-License-Identifier: Apache-2.0
"""Functions for code that is exported or compiled.

They tell whether an export or a compilation is running. One function sorts
tensors in a way that can be exported.
"""

import torch
from torch import Tensor


def is_exporting() -> bool:
    """Whether ``torch.export`` is running; always False before PyTorch 2.7."""
    return getattr(torch.compiler, 'is_exporting', bool)()


def is_in_onnx_export() -> bool:
    """Whether one of the ONNX exporters of PyTorch is running."""
    return torch.onnx.is_in_onnx_export()


def is_compiling() -> bool:
    """Whether ``torch.compile`` is tracing the code.

    The result is always False before PyTorch 2.3.
    """
    return getattr(torch.compiler, 'is_compiling', bool)()


def runs_as_written() -> bool:
    """Whether gradients are disabled and no export or compilation is running.

    If the result is False, code must not choose operators or loops depending
    on the device or the size of the input.
    """
    # First, since torch.compile cannot trace the check of an ONNX export.
    if is_compiling():
        return False
    return not (
        torch.is_grad_enabled() or is_exporting() or is_in_onnx_export()
    )


def stable_sort(
    x: Tensor, dim: int, descending: bool = False
) -> tuple[Tensor, Tensor]:
    """Sort a tensor so that equal values keep their order.

    ``torch.sort(stable=True)`` cannot be exported to ONNX. During an export,
    ``torch.sort`` is called without ``stable=True``, since ONNX sorts are
    stable.

    Args:
        x (Tensor): Tensor of any shape.
        dim (int): Axis to sort along.
        descending (bool): Whether to sort from high to low.

    Returns:
        tuple[Tensor, Tensor]: Sorted values and their indices, both of the
        shape of ``x``.
    """
    if is_exporting():
        return x.sort(dim=dim, descending=descending)
    return x.sort(dim=dim, descending=descending, stable=True)
