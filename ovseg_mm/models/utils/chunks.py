# SPDX-License-Identifier: Apache-2.0
"""Work on a few parts of a tensor at a time; the results are the same."""

from collections.abc import Callable

import torch
from torch import Tensor

from .exporting import is_exporting

# Bytes of the tokens that are worked on at a time. On a processor they and
# what is made of them fit in its caches, and the memory of one part serves the
# next; other devices need more to be busy.
CHUNK_BYTES = dict(cpu=1 << 21)
CHUNK_BYTES_ELSEWHERE = 1 << 26


def chunk_size(x: Tensor, dim: int) -> int:
    """Number of entries along an axis that are worked on at a time.

    Args:
        x (Tensor): The tensor, of any shape.
        dim (int): The axis.

    Returns:
        int: At least 1.
    """
    if not x.numel():
        return max(1, x.shape[dim])
    limit = CHUNK_BYTES.get(x.device.type, CHUNK_BYTES_ELSEWHERE)
    entry = x.numel() * x.element_size() // x.shape[dim]
    return max(1, limit // entry)


def apply_to_chunks(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    dim: int = 1,
    overwrite: bool = False,
) -> Tensor:
    """``function(x)``, where the function treats each part of x alone.

    The function is applied to a few entries of the axis at a time. That
    bounds the memory of temporary tensors and does not change the result.

    Args:
        function (Callable): Takes and returns tensors with the axis ``dim``.
        x (Tensor): The tensor, (B, T, ...).
        dim (int): The axis.
        overwrite (bool): Whether the result, of the shape of x, may take the
            memory of x. With gradients it does not.

    Returns:
        Tensor: The function's result.
    """
    if is_exporting():  # a graph for any number of classes
        return function(x)
    step, size = chunk_size(x, dim), x.shape[dim]
    if size <= step:
        return function(x)
    if torch.is_grad_enabled():
        # Kept tensors lie between temporary ones. To align a tensor, glibc
        # needs a little more memory than its size; so tensors fit into the
        # gaps that a chunk before left if that chunk was larger.
        others = max(1, step - 1)
        sizes = [step] + [others] * ((size - step) // others)
        sizes += [size - sum(sizes)] * (sum(sizes) < size)
        parts = x.split(sizes, dim)
        return torch.cat([function(part) for part in parts], dim)
    if overwrite:
        for part in x.split(step, dim):
            part.copy_(function(part))
        return x
    first, *others = x.split(step, dim)
    part = function(first)
    out = part.new_empty((*part.shape[:dim], size, *part.shape[dim + 1 :]))
    out.narrow(dim, 0, step).copy_(part)
    for index, other in enumerate(others, 1):
        length = other.shape[dim]
        out.narrow(dim, index * step, length).copy_(function(other))
    return out
