# SPDX-License-Identifier: Apache-2.0
"""Checks whether a model is being exported."""

import torch


def is_exporting() -> bool:
    """Whether ``torch.export`` traces; PyTorch before 2.7 cannot tell."""
    return getattr(torch.compiler, 'is_exporting', bool)()


def is_in_onnx_export() -> bool:
    """Whether one of PyTorch's ONNX exporters traces."""
    return torch.onnx.is_in_onnx_export()
