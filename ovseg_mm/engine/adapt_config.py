# SPDX-License-Identifier: Apache-2.0
"""Changes to a config that make it run on this machine with our checks."""

import logging

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper
from mmseg.registry import HOOKS, MODELS, OPTIM_WRAPPERS

from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor
from ovseg_mm.utils.config_types import is_type

from .hooks import CheckpointGuardHook, FiniteLossHook, VocabularyHook

# Arguments of AmpOptimWrapper for float16 and its loss scaling.
_AMP_ARGUMENTS = ('loss_scale', 'dtype', 'use_fsdp')


def add_missing_hooks(cfg: Config) -> None:
    """Add this package's hooks to a config that does not list them.

    Configs based on MMSegmentation's ``default_runtime.py`` have none of
    them, but need the same checks: the order of the classes, losses that are
    not finite, and checkpoints that do not fit.

    Args:
        cfg (Config): Changed in place, if its model is an open-vocabulary
            segmentor.
    """
    model = cfg.get('model') or {}
    # Test-time augmentation wraps the segmentor.
    model = model.get('module') or model
    if not is_type(model, BaseOpenVocabSegmentor, MODELS):
        return
    hooks = list(cfg.get('custom_hooks') or [])
    for kind in (CheckpointGuardHook, FiniteLossHook, VocabularyHook):
        if not any(is_type(hook, kind, HOOKS) for hook in hooks):
            hooks.append(dict(type=kind.__name__))
    cfg.custom_hooks = hooks


def replace_amp_on_cpu(cfg: Config) -> None:
    """Train in bfloat16 where ``AmpOptimWrapper`` finds no accelerator.

    Args:
        cfg (Config): Changed in place, if it names an ``AmpOptimWrapper``
            and there is only a CPU.
    """
    wrapper = cfg.get('optim_wrapper')
    if get_device() != 'cpu' or not wrapper:
        return
    if not is_type(wrapper, AmpOptimWrapper, OPTIM_WRAPPERS):
        return
    for name in _AMP_ARGUMENTS:
        wrapper.pop(name, None)
    wrapper.type = 'AutocastOptimWrapper'
    print_log(
        'AmpOptimWrapper needs a GPU; on this CPU AutocastOptimWrapper '
        'trains in bfloat16 without loss scaling instead',
        'current',
        logging.WARNING,
    )
