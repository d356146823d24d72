# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Optimizer wrapper for forward passes in bfloat16, on any device.

    Weights stay in float32. The loss is not scaled, because bfloat16 has the
    range of float32. MMEngine's ``AmpOptimWrapper`` needs an accelerator.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context manager that runs the forward pass in bfloat16."""
        device = torch.device(get_device()).type
        with (
            super().optim_context(model),
            torch.autocast(device, dtype=torch.bfloat16),
        ):
            yield
