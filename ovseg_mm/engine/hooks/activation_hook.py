# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Sequence
from functools import wraps
from operator import attrgetter
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import nn
from torch.utils.checkpoint import checkpoint

from ovseg_mm.utils.errors import InputError

from ..distributed import unwrap


@HOOKS.register_module()
class ActivationCheckpointingHook(Hook):
    """Computes activations of some modules again instead of keeping them.

    MMEngine's ``activation_checkpointing`` leaves modules whose input has no
    gradient, such as a backbone, without gradients, and turns named tuples
    into tuples. ``tools/train.py`` uses this hook instead.

    Args:
        modules (str | Sequence[str]): Names of modules, such as
            ``'backbone'``.
    """

    def __init__(self, modules: str | Sequence[str]) -> None:
        self.modules = [modules] if isinstance(modules, str) else modules

    def before_train(self, runner: Runner) -> None:
        """Wrap the modules; after other hooks have copied the model."""
        recompute_activations(unwrap(runner.model), self.modules)


def recompute_activations(model: nn.Module, modules: Sequence[str]) -> None:
    """Have modules compute their activations again in the backward pass.

    Args:
        model (nn.Module): Changed in place.
        modules (Sequence[str]): Names of its modules.

    Raises:
        InputError: If the model has no such module.
    """
    for name in modules:
        try:
            module = attrgetter(name)(model)
        except AttributeError:
            known = ', '.join(key for key, _ in model.named_children())
            raise InputError(
                f'activation_checkpointing names {name!r}, but the model has '
                f'no such module; it has {known} and their parts'
            ) from None
        module.forward = _recomputed(module.forward)


def _recomputed(forward: Callable) -> Callable:
    @wraps(forward)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return recomputed
