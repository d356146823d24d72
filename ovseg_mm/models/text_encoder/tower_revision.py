# SPDX-License-Identifier: Apache-2.0
"""Detection of changes in the weights of a text tower."""

import hashlib
import io
import json
import weakref
from functools import cached_property

import torch
from torch import Tensor, nn


class TowerRevision:
    """Record of the weights that a text tower has when this object is made.

    Args:
        encoder (nn.Module): Text tower.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._encoder = weakref.ref(encoder)
        # The address alone is not enough: a new tensor may get the address
        # of a deleted one. The version counts in-place writes.
        self._parameters = [
            (weakref.ref(parameter), parameter.data_ptr(), parameter._version)
            for parameter in encoder.parameters()
        ]

    def is_of(self, encoder: nn.Module) -> bool:
        """Whether ``encoder`` is the recorded tower with unchanged weights."""
        parameters = list(encoder.parameters())
        return len(parameters) == len(self._parameters) and all(
            reference() is parameter
            and address == parameter.data_ptr()
            and version == parameter._version
            for parameter, (reference, address, version) in zip(
                parameters, self._parameters
            )
        )

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the tower's architecture and weights."""
        encoder = self._encoder()
        assert encoder is not None  # it is the tower in use
        # Number of heads and activation change only the output.
        digest = hashlib.sha256(json.dumps(encoder.arch).encode())
        for name, tensor in encoder.state_dict().items():
            if not isinstance(tensor, Tensor) or tensor.is_quantized:
                content = io.BytesIO()
                torch.save(tensor, content)
                digest.update(name.encode() + content.getvalue())
                continue
            tensor = tensor.detach().cpu().contiguous()
            shape = tuple(tensor.shape)
            digest.update(f'{name}{shape}{tensor.dtype}'.encode())
            digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
        return digest.digest()
