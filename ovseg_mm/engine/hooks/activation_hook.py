# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import wraps
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
            ``'backbone'``. ``*`` stands for any part between two dots:
            ``'backbone.transformer.resblocks.*'`` are all blocks of the
            image tower. The backward pass computes one of them at a time, so
            that many small modules need less memory than a large one.
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
        modules (Sequence[str]): Names of its modules; ``*`` stands for any
            part between two dots.

    Raises:
        InputError: If the model has no such module.
    """
    for name in modules:
        found = [
            module
            for key, module in model.named_modules()
            if _fits(key.split('.'), name.split('.'))
        ]
        if not found:
            known = ', '.join(key for key, _ in model.named_children())
            raise InputError(
                f'activation_checkpointing names {name!r}, but the model has '
                f'no such module; it has {known} and their parts'
            )
        for module in found:
            module.forward = _recomputed(module.forward)


def _fits(key: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a module's name fit those of a pattern."""
    return len(key) == len(pattern) and all(map(fnmatchcase, key, pattern))


def _recomputed(forward: Callable) -> Callable:
    @wraps(forward)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return recomputed
