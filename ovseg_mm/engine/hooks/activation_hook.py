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
    """Hook that saves GPU memory by activation checkpointing.

    The modules do not store their activations for the backward pass, but
    compute them again. ``tools/train.py`` uses this hook because MMEngine's
    ``activation_checkpointing`` has two faults. A module whose input has no
    gradient, such as a backbone, gets no gradients. A named tuple that a
    module returns is replaced by a plain tuple.

    Args:
        modules (str | Sequence[str]): Dotted names of the modules, such as
            ``'backbone'``. ``*`` stands for any part between two dots:
            ``'backbone.transformer.resblocks.*'`` names all blocks of the
            image tower. Many small modules need less memory than one large
            module, because the backward pass recomputes one module at a time.
    """

    def __init__(self, modules: str | Sequence[str]) -> None:
        self.modules = [modules] if isinstance(modules, str) else modules

    def before_train(self, runner: Runner) -> None:
        """Make the modules recompute their activations.

        The modules are changed after ``before_run``, because hooks such as
        EMA copy the model there. The copy of a changed module would call the
        original module.
        """
        recompute_activations(unwrap(runner.model), self.modules)


def recompute_activations(model: nn.Module, modules: Sequence[str]) -> None:
    """Make modules recompute their activations in the backward pass.

    Args:
        model (nn.Module): Model, changed in place.
        modules (Sequence[str]): Dotted names of modules in the model; ``*``
            stands for any part between two dots.

    Raises:
        InputError: If a name in ``modules`` fits no module of the model.
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
                f'no such module; choose from {known}, and modules inside '
                'these'
            )
        for module in found:
            module.forward = _recomputed(module.forward)


def _fits(key: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the name of a module matches a pattern.

    Each part of the name must match the part of the pattern at the same
    position.
    """
    return len(key) == len(pattern) and all(map(fnmatchcase, key, pattern))


def _recomputed(forward: Callable) -> Callable:
    @wraps(forward)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return recomputed
