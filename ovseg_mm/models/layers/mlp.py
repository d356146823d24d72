# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

from torch import nn


def mlp(dims: Sequence[int]) -> nn.Sequential:
    """Build linear layers with ReLU between them.

    Args:
        dims (Sequence[int]): Width of the input, then of the output of each
            layer.

    Returns:
        nn.Sequential: Linear layers at even indices, ReLU at odd indices.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in zip(dims[:-1], dims[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])
