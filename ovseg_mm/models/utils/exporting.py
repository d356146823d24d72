# SPDX-License-Identifier: Apache-2.0
"""Checks whether a model is being exported."""

import torch
from torch import Tensor


def is_exporting() -> bool:
    """Whether ``torch.export`` traces; PyTorch before 2.7 cannot tell."""
    return getattr(torch.compiler, 'is_exporting', bool)()


def is_in_onnx_export() -> bool:
    """Whether one of PyTorch's ONNX exporters traces."""
    return torch.onnx.is_in_onnx_export()


def stable_sort(
    x: Tensor, dim: int, descending: bool = False
) -> tuple[Tensor, Tensor]:
    """Sort; of equal values the first one stays first.

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
