# SPDX-License-Identifier: Apache-2.0
"""Processing of a tensor in chunks, which saves memory."""

from collections.abc import Callable

import torch
from torch import Tensor

from .exporting import is_exporting

# Bytes of a chunk. On a CPU, a chunk and its intermediate results fit into the
# caches. Other devices are faster with larger chunks.
CHUNK_BYTES = dict(cpu=1 << 21)
CHUNK_BYTES_ELSEWHERE = 1 << 26


def chunk_size(x: Tensor, dim: int) -> int:
    """Number of entries along an axis to process at a time.

    Args:
        x (Tensor): Tensor of any shape.
        dim (int): Axis along which the tensor is split.

    Returns:
        int: Number of entries, at least 1.
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
    """Compute ``function(x)`` in chunks along an axis, to save memory.

    Args:
        function (Callable): Function that treats each entry of the axis
            independently, and whose result has the axis too.
        x (Tensor): Tensor of any shape.
        dim (int): Axis to split.
        overwrite (bool): Whether the result may be written into ``x``, to
            save memory. The result must then have the shape of ``x``. The
            option has no effect if gradients are enabled.

    Returns:
        Tensor: Result of ``function(x)``.
    """
    if is_exporting():  # the graph must fit any number of classes
        return function(x)
    step, size = chunk_size(x, dim), x.shape[dim]
    if size <= step:
        return function(x)
    if torch.is_grad_enabled():
        # Results stay in memory between temporary tensors. To align a tensor,
        # glibc needs a little more memory than the size of the tensor. If the
        # first chunk is larger than the others, later tensors fit into the
        # gaps that its temporary tensors leave.
        head, rest = x.split([step, size - step], dim)
        parts = [head, *rest.split(max(1, step - 1), dim)]
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
