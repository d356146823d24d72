# SPDX-License-Identifier: Apache-2.0
"""Checks for unknown keys in config dicts without a ``type`` key.

MMEngine ignores unknown keys in such dicts.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from mmengine.fileio.backends.registry_utils import backends
from mmengine.optim import DefaultOptimWrapperConstructor
from mmseg.datasets import BaseSegDataset
from mmseg.engine.optimizers import LearningRateDecayOptimizerConstructor
from torch.distributed import init_process_group

from ovseg_mm.utils.errors import InputError, nearest

from .optim_constructor import OpenVocabOptimWrapperConstructor
from .signatures import named_arguments

_OUR_FACTORS = ('lr_mult', 'norm_decay', 'no_decay')
_FACTORS = (
    *('custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult'),
    *('flat_decay_mult', 'dwconv_decay_mult', 'dcn_offset_lr_mult'),
    'bypass_duplicate',
)
_LAYER_FACTORS = (
    *('num_layers', 'decay_rate', 'decay_type', 'layer_decay_rate'),
    *_FACTORS,
)
# Constructors of MMEngine and MMSegmentation, and ours that replaces them.
_DEFAULT_CONSTRUCTORS = (
    'DefaultOptimWrapperConstructor',
    'ForceDefaultOptimWrapperConstructor',
    'ProjectOptimWrapperConstructor',
)
_CUSTOM_FACTORS = ('lr_mult', 'decay_mult')
_CLIP_KEYS = dict(
    norm=named_arguments(torch.nn.utils.clip_grad_norm_) - {'parameters'},
    value=named_arguments(torch.nn.utils.clip_grad_value_) - {'parameters'},
)
_LOG_KEYS = ('data_src', 'log_name', 'method_name', 'window_size')
_KNOWN_PACKAGES = ('mmseg', 'ovseg_mm')
_METAINFO = ('classes', 'palette')
_PROCESS_GROUP = {
    *named_arguments(init_process_group),
    *('init_backend', 'port'),
}


def check_keys(node: Mapping, path: str, known: Collection[str]) -> None:
    """Raise if a dict of a config has an unknown key.

    Args:
        node (Mapping): Dict of the config.
        path (str): Key of the dict in the config, such as ``'env_cfg'``, for
            messages.
        known (Collection[str]): All keys that the dict may have.

    Raises:
        InputError: If a key is unknown. The message suggests a similar known
            key.
    """
    for name in node:
        if name not in known:
            raise InputError(
                f'{path} has no setting {name!r}{nearest(name, known)}; '
                f'choose from {", ".join(sorted(known))}'
            )


def check_similar_keys(
    node: Mapping, path: str, known: Collection[str]
) -> None:
    """Raise if a dict of a config has a key that looks misspelt.

    Users may store their own keys in such a dict. Therefore, a key that does
    not resemble a known key is accepted.

    Args:
        node (Mapping): Dict of the config.
        path (str): Key of the dict in the config, for messages.
        known (Collection[str]): Keys that MMEngine or this package read.

    Raises:
        InputError: If a key is not in ``known``, but resembles a known key.
    """
    for name in node:
        near = nearest(str(name), known, cutoff=0.8)
        if name not in known and near:
            raise InputError(f'{path} has no setting {name!r}{near}')


def check_optimizer_dicts(wrapper: Mapping, constructor: Any) -> None:
    """Check ``paramwise_cfg`` and ``clip_grad`` of an optimizer wrapper.

    Args:
        wrapper (Mapping): ``optim_wrapper`` of a config.
        constructor (type, optional): Class of ``optim_wrapper.constructor``.
            None: ``DefaultOptimWrapperConstructor``.

    Raises:
        InputError: If ``paramwise_cfg`` or ``clip_grad`` has an unknown key,
            or if the type of ``clip_grad`` is unknown.
    """
    factors = wrapper.get('paramwise_cfg') or {}
    path = 'optim_wrapper.paramwise_cfg'
    _check_factors(factors, path, constructor)
    custom = factors.get('custom_keys') or {}
    for name, options in custom.items():
        if isinstance(options, Mapping):
            at = f'{path}.custom_keys.{name}'
            check_keys(options, at, _CUSTOM_FACTORS)
    clip = dict(wrapper.get('clip_grad') or {})
    kind = clip.pop('type', 'norm')
    if kind not in _CLIP_KEYS:
        raise InputError(
            f"optim_wrapper.clip_grad.type={kind!r} is unknown; use 'norm' or "
            "'value'"
        )
    check_keys(clip, 'optim_wrapper.clip_grad', _CLIP_KEYS[kind])


def check_dataset_dicts(dataset: Mapping, path: str, kind: Callable) -> None:
    """Check ``data_prefix`` and ``metainfo`` of a data set.

    Args:
        dataset (Mapping): Config of the data set.
        path (str): Key of the data set in the whole config, for messages.
        kind (type): Class of the data set. If it is not a sub-class of
            ``BaseSegDataset``, nothing is checked.

    Raises:
        InputError: If a key looks misspelt, or if ``data_prefix`` of a data
            set of MMSegmentation or this package has an unknown key.
    """
    if not inspect.isclass(kind) or not issubclass(kind, BaseSegDataset):
        return
    prefix = dataset.get('data_prefix')
    if isinstance(prefix, Mapping):
        known = _prefixes(kind)
        check_similar_keys(prefix, f'{path}.data_prefix', known)
        if kind.__module__.partition('.')[0] in _KNOWN_PACKAGES:
            check_keys(prefix, f'{path}.data_prefix', known)
    meta = dataset.get('metainfo')
    if isinstance(meta, Mapping):
        check_similar_keys(meta, f'{path}.metainfo', _METAINFO)


def check_run_dicts(cfg: Mapping) -> None:
    """Check dicts that MMEngine reads only during the run.

    The dicts are ``backend_args`` of the checkpoint hook, ``custom_cfg`` of
    the log processor, ``compile`` and ``env_cfg.dist_cfg``.

    Args:
        cfg (Mapping): A whole config.

    Raises:
        InputError: If a key or the file backend is unknown.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    backend = (hook.get('backend_args') or {}).get('backend')
    if backend is not None and backend not in backends:
        raise InputError(
            f'default_hooks.checkpoint.backend_args.backend={backend!r} is '
            f'not a file backend{nearest(backend, backends)}; choose from '
            f'{", ".join(sorted(backends))}'
        )
    processor = cfg.get('log_processor') or {}
    for index, log in enumerate(processor.get('custom_cfg') or ()):
        path = f'log_processor.custom_cfg.{index}'
        check_similar_keys(log, path, _LOG_KEYS)
    options = cfg.get('compile')
    if isinstance(options, Mapping):
        known = named_arguments(torch.compile) - {'model'}
        check_keys(options, 'compile', known)
    processes = (cfg.get('env_cfg') or {}).get('dist_cfg') or {}
    check_keys(processes, 'env_cfg.dist_cfg', _PROCESS_GROUP)


def _check_factors(factors: Mapping, path: str, constructor: Any) -> None:
    kind = constructor or DefaultOptimWrapperConstructor
    if not inspect.isclass(kind):
        return
    if issubclass(kind, OpenVocabOptimWrapperConstructor):
        check_keys(factors, path, _OUR_FACTORS)
    elif issubclass(kind, LearningRateDecayOptimizerConstructor):
        check_keys(factors, path, _LAYER_FACTORS)
    elif kind.__name__ in _DEFAULT_CONSTRUCTORS:
        ours = set(factors) & set(_OUR_FACTORS)
        if ours:
            raise InputError(
                f'{path}.{min(ours)} is an option of '
                'OpenVocabOptimWrapperConstructor; set optim_wrapper.'
                "constructor='OpenVocabOptimWrapperConstructor'"
            )
        check_keys(factors, path, (*_FACTORS, 'force_default_settings'))


def _prefixes(kind: type) -> set[str]:
    """Get the keys in the default ``data_prefix`` of a class and its bases."""
    found = {'img_path', 'seg_map_path'}
    for base in kind.__mro__:
        init = vars(base).get('__init__')
        if init is None or base is object:
            continue
        parameter = inspect.signature(init).parameters.get('data_prefix')
        if parameter is not None and isinstance(parameter.default, Mapping):
            found |= set(parameter.default)
    return found
