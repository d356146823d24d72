# SPDX-License-Identifier: Apache-2.0
"""Add missing hooks to a config, and make its AMP training run on CPUs."""

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
    """Add hooks of this package if they are missing in a config.

    The hooks are ``CheckpointGuardHook``, ``FiniteLossHook`` and
    ``VocabularyHook``; they check checkpoints, losses and class names.
    Configs based on MMSegmentation's ``default_runtime.py`` have none of
    these hooks.

    Args:
        cfg (Config): Config, changed in place. A config whose model is not an
            open-vocabulary segmentor stays unchanged.
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
    """Replace ``AmpOptimWrapper`` by ``AutocastOptimWrapper`` on CPUs.

    On a machine without accelerator, ``AmpOptimWrapper`` raises an error.
    ``AutocastOptimWrapper`` trains in bfloat16 on any device.

    Args:
        cfg (Config): Config, changed in place. A config with another
            optimizer wrapper stays unchanged.
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
        'AmpOptimWrapper needs a GPU; on this CPU, it is replaced by '
        'AutocastOptimWrapper, which trains in bfloat16 without loss scaling',
        'current',
        logging.WARNING,
    )
