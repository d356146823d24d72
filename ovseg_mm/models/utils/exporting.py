# SPDX-License-Identifier: Apache-2.0
"""Checks whether a model is being exported."""

import torch
from torch import Tensor


def is_exporting() -> bool:
    """Whether ``torch.export`` traces a model; False before PyTorch 2.7."""
    return getattr(torch.compiler, 'is_exporting', bool)()


def is_in_onnx_export() -> bool:
    """Whether one of PyTorch's ONNX exporters traces a model."""
    return torch.onnx.is_in_onnx_export()


def stable_sort(
    x: Tensor, dim: int, descending: bool = False
) -> tuple[Tensor, Tensor]:
    """Sort values; equal values keep their order.

    ONNX sorts are stable, but PyTorch's exporter fails for ``stable=True``.

    Args:
        x (Tensor): Values.
        dim (int): Axis to sort along.
        descending (bool): Whether the largest value comes first.

    Returns:
        tuple[Tensor, Tensor]: Sorted values and their indices, of the shape
        of x.
    """
    if is_exporting():
        return x.sort(dim=dim, descending=descending)
    return x.sort(dim=dim, descending=descending, stable=True)
