# SPDX-License-Identifier: Apache-2.0
"""Check of all names in a config before the run starts.

MMEngine builds data loaders, evaluators, hooks and schedulers after the model.
Without this check, a misspelt name in their configs would be found late.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import mmengine.registry as registries
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import Runner
from mmseg.models.segmentors.base import BaseSegmentor
from torch.utils.data import DataLoader

from ovseg_mm.models.segmentors.options import TEST_OPTIONS
from ovseg_mm.utils.errors import InputError, nearest

from .config_dicts import (
    check_dataset_dicts,
    check_keys,
    check_optimizer_dicts,
    check_run_dicts,
)
from .config_rules import check_data, check_hook, check_metric_names
from .config_shape import check_loops, check_parts_are_dicts
from .signatures import accepted_arguments, named_arguments, optional_arguments

# Registry and default type for each top-level key of a config.
_PARTS = {
    'model': ('MODELS', None),
    'data_preprocessor': ('MODELS', None),
    'tta_model': ('MODELS', None),
    'train_cfg': ('LOOPS', None),
    'val_cfg': ('LOOPS', 'ValLoop'),
    'test_cfg': ('LOOPS', 'TestLoop'),
    'val_evaluator': ('METRICS', 'Evaluator'),
    'test_evaluator': ('METRICS', 'Evaluator'),
    'optim_wrapper': ('OPTIM_WRAPPERS', 'OptimWrapper'),
    'param_scheduler': ('PARAM_SCHEDULERS', None),
    'custom_hooks': ('HOOKS', None),
    'visualizer': ('VISUALIZERS', 'Visualizer'),
    'log_processor': ('LOG_PROCESSORS', 'LogProcessor'),
    'strategy': ('STRATEGIES', None),
    'model_wrapper_cfg': ('MODEL_WRAPPERS', 'MMDistributedDataParallel'),
    'test_pipeline': ('TRANSFORMS', None),
    'tta_pipeline': ('TRANSFORMS', None),
}
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Registries of configs nested in a config; '*' stands for every key.
_CHILDREN = {
    'DATASETS': dict(
        pipeline='TRANSFORMS', dataset='DATASETS', datasets='DATASETS'
    ),
    'TRANSFORMS': dict(transforms='TRANSFORMS', transform='TRANSFORMS'),
    'OPTIM_WRAPPERS': dict(optimizer='OPTIMIZERS'),
    'VISUALIZERS': dict(vis_backends='VISBACKENDS'),
    'METRICS': dict(metrics='METRICS'),
    'STRATEGIES': dict(model_wrapper='MODEL_WRAPPERS'),
    'MODELS': {'*': 'MODELS'},
}
# Arguments that MMEngine removes from a config before it builds the object.
_TAKEN_OUT = {
    'OPTIM_WRAPPERS': ('constructor', 'paramwise_cfg'),
    'PARAM_SCHEDULERS': ('convert_to_iter_based', 'by_epoch'),
    'HOOKS': ('priority',),
    'LOOPS': ('by_epoch',),
}
# Other registries with classes for parts of models.
_BESIDE_MODELS = ('TASK_UTILS', 'WEIGHT_INITIALIZERS', 'TRANSFORMS')
# Configs in models whose arguments the outer class changes before building.
_PRIVATE = ('norm_cfg', 'act_cfg', 'conv_cfg', 'upsample_cfg', 'init_cfg')
# Keys of models with dicts that do not name a class.
_NO_PARTS = ('vocabulary', 'train_vocabulary', 'metainfo', 'arch')
_OWN_NAMES = ('Albu',)
_KNOWN_PACKAGES = ('ovseg_mm', 'mmseg', 'mmengine', 'mmcv')
_LOADER_KEYS = (
    *('dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn'),
    *('num_batch_per_epoch', 'disable_subprocess_warning'),
)
_ENV_KEYS = dict(
    env_cfg=(
        *('cudnn_benchmark', 'float32_matmul_precision', 'mp_cfg'),
        *('dist_cfg', 'resource_limit'),
    ),
    mp_cfg=('mp_start_method', 'opencv_num_threads'),
    auto_scale_lr=('base_batch_size', 'enable'),
)
RUN_KEYS = (
    *('default_hooks', 'env_cfg', 'auto_scale_lr', 'load_from', 'resume'),
    *('launcher', 'log_level', 'default_scope', 'randomness', 'work_dir'),
    *('experiment_name', 'runner_type', 'custom_imports', 'compile'),
    *('sync_bn', 'find_unused_parameters', 'activation_checkpointing'),
    *('efficient_conv_bn_eval', 'detect_anomalous_params', 'model_name'),
    *(*_PARTS, *_LOADERS),
)
"""Top-level keys of a config that MMEngine or this package read."""


def check_config(
    cfg: Config,
    keys: Collection[str] | None = None,
    scope: str = 'mmengine',
) -> None:
    """Raise if a config names an unknown class, argument or setting.

    The class name in each ``type`` is looked up in a registry. The arguments
    next to ``type`` are compared with the signature of the class. Modules in
    ``custom_imports`` must already be imported.

    Args:
        cfg (Config): A whole config.
        keys (Collection[str], optional): Top-level keys to check. None: all.
        scope (str): Registry scope if the config has no ``default_scope``.

    Raises:
        InputError: If a name is unknown, a required key is missing, or
            settings contradict each other. Only the first fault is reported.
    """
    dicts = (*_PARTS, *_LOADERS, 'default_hooks', 'env_cfg')
    check_parts_are_dicts(cfg, dicts, keys)
    with _scope_of(cfg.get('default_scope') or scope):
        for key, (registry, default) in _PARTS.items():
            if cfg.get(key) is not None and (keys is None or key in keys):
                _check_parts(cfg[key], key, registry, default)
        for key in _LOADERS:
            if cfg.get(key) is not None and (keys is None or key in keys):
                _check_loader(cfg[key], key)
        if keys is None:
            check_loops(cfg)
            _check_rest(cfg)
            check_metric_names(cfg)
    check_data(cfg, keys)


def _scope_of(scope: str | None) -> AbstractContextManager:
    if scope is None:
        return nullcontext()
    return DefaultScope.overwrite_default_scope(scope)


def _check_rest(cfg: Config) -> None:
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if hook is not None:
            path = f'default_hooks.{name}'
            if 'type' not in hook:
                others = set(cfg.default_hooks) - {name}
                hint = nearest(name, others) or "; add type='...'"
                raise InputError(f'{path} has no type{hint}')
            _check_part(hook, path, 'HOOKS')
    if cfg.get('runner_type') is not None:
        _find(cfg.runner_type, 'runner_type', 'RUNNERS')
    wrapper = cfg.get('optim_wrapper') or {}
    constructor = wrapper.get('constructor')
    if constructor is not None:
        path = 'optim_wrapper.constructor'
        constructor = _find(constructor, path, 'OPTIM_WRAPPER_CONSTRUCTORS')
    check_optimizer_dicts(wrapper, constructor)
    check_run_dicts(cfg)
    for key in ('env_cfg', 'auto_scale_lr'):
        check_keys(cfg.get(key) or {}, key, _ENV_KEYS[key])
    processes = (cfg.get('env_cfg') or {}).get('mp_cfg') or {}
    check_keys(processes, 'env_cfg.mp_cfg', _ENV_KEYS['mp_cfg'])
    randomness = named_arguments(Runner.set_randomness) - {'self'}
    check_keys(cfg.get('randomness') or {}, 'randomness', randomness)


def _check_loader(loader: Any, path: str) -> None:
    if not isinstance(loader, dict):
        return
    known = {*inspect.signature(DataLoader).parameters, *_LOADER_KEYS}
    check_keys(loader, path, known)
    for key, registry in (
        ('dataset', 'DATASETS'),
        ('sampler', 'DATA_SAMPLERS'),
        ('batch_sampler', 'DATA_SAMPLERS'),
        ('collate_fn', 'FUNCTIONS'),
        ('worker_init_fn', 'FUNCTIONS'),
    ):
        if isinstance(loader.get(key), dict):
            _check_part(loader[key], f'{path}.{key}', registry)


def _check_parts(
    node: Any, path: str, registry: str, default: str | None = None
) -> None:
    """Check the config of one object, or a list or dict of such configs."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            _check_parts(item, f'{path}.{index}', registry)
    elif isinstance(node, Mapping):
        if 'type' in node or default is not None:
            _check_part(node, path, registry, default)
        elif registry == 'PARAM_SCHEDULERS':
            # A dict of schedulers, by name of the optimizer.
            for key, item in node.items():
                _check_parts(item, f'{path}.{key}', registry)
        elif registry == 'LOOPS' and 'by_epoch' in node:
            by = 'Epoch' if node['by_epoch'] else 'Iter'
            _check_part(node, path, registry, f'{by}BasedTrainLoop')
        elif registry != 'MODELS':
            _check_part(node, path, registry)


def _check_part(
    node: Mapping, path: str, registry: str, default: str | None = None
) -> None:
    """Check the config of one object, and all configs nested in it."""
    name = node.get('type', default)
    if name is None:
        raise InputError(
            f'{path} has no type, found {dict(node)}; add the name of its '
            "class, type='...'"
        )
    if name == 'Evaluator':
        registry = 'EVALUATOR'
    with _scope_of(node.get('_scope_')):
        found = _find(name, f'{path}.type', registry)
        _check_arguments(node, path, registry, found)
        _check_below(node, path, registry, found)
    if registry == 'DATASETS':
        check_dataset_dicts(node, path, found)
    elif registry == 'HOOKS':
        check_hook(path, found)


def _check_below(
    node: Mapping, path: str, registry: str, owner: Callable
) -> None:
    """Check the configs nested in ``node``, the arguments of ``owner``."""
    if registry == 'EVALUATOR':
        registry = 'METRICS'
    children = _CHILDREN.get(registry, {})
    if getattr(owner, '__name__', '') in _OWN_NAMES:
        return
    # Dicts without a type, each with the class that has their arguments.
    for key, target in getattr(owner, 'option_dicts', {}).items():
        if isinstance(node.get(key), Mapping):
            check_keys(node[key], f'{path}.{key}', optional_arguments(target))
    for key, value in node.items():
        child = children.get(key, children.get('*'))
        if child is None or key in _NO_PARTS:
            continue
        if child == 'MODELS':
            _check_model_parts(value, f'{path}.{key}', key, owner)
        else:
            _check_parts(value, f'{path}.{key}', child)


def _check_model_parts(
    node: Any, path: str, key: str, owner: Callable
) -> None:
    """Check ``node``, the config that ``owner`` gets as argument ``key``.

    A class of another package may change the config before it builds the part.
    Its keys are therefore checked only if ``owner`` is a segmentor or a class
    of this package, or if the part is a loss.
    """
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            _check_model_parts(item, f'{path}.{index}', key, owner)
        return
    if not isinstance(node, Mapping):
        return
    package = owner.__module__.partition('.')[0]
    if 'type' not in node or package not in _KNOWN_PACKAGES:
        return
    found = _find(node['type'], f'{path}.type', 'MODELS', _BESIDE_MODELS)
    ours = package == 'ovseg_mm' or (
        inspect.isclass(owner) and issubclass(owner, BaseSegmentor)
    )
    if (ours or key.startswith('loss')) and key not in _PRIVATE:
        _check_arguments(node, path, 'MODELS', found)
    if key not in _PRIVATE:
        _check_below(node, path, 'MODELS', found)


def _check_arguments(
    node: Mapping, path: str, registry: str, found: Callable
) -> None:
    known = accepted_arguments(found)
    taken = {'type', '_scope_', *_TAKEN_OUT.get(registry, ())}
    for name in set(node) - taken:
        if known is None:
            _check_like(name, path, found)
        elif name not in known:
            raise InputError(
                f'{path}.{name}: {found.__name__} has no argument {name!r}'
                + (_elsewhere(path, name) or nearest(name, known))
                + f'; choose from {", ".join(sorted(known))}'
            )


def _check_like(name: str, path: str, found: Callable) -> None:
    """Raise if an argument for ``**kwargs`` of a class looks misspelt."""
    named = named_arguments(found)
    ours = found.__module__.partition('.')[0] in _KNOWN_PACKAGES
    near = nearest(name, named, cutoff=0.85)
    if ours and name not in named and near:
        raise InputError(
            f'{path}.{name}: {found.__name__} has no argument {name!r}{near}'
        )


def _elsewhere(path: str, name: str) -> str:
    """Return a hint if ``name`` belongs in ``model.test_cfg``, or else ''."""
    if path in ('test_cfg', 'model') and name in TEST_OPTIONS:
        return f'; did you mean model.test_cfg.{name}?'
    return ''


def _find(
    name: Any, path: str, registry: str, others: Collection[str] = ()
) -> Callable:
    """Look up a class or function in ``registry``, such as ``'MODELS'``.

    If it is not there, the registries ``others`` are searched. If ``name`` is
    already a class, it is returned. ``path`` is the key of the class in the
    config, such as ``'model.type'``, for error messages.
    """
    if not isinstance(name, str):
        if callable(name):
            return name
        raise InputError(
            f'{path}={name!r} is not the name of a class; give a name in '
            "quotes, such as 'Adam'"
        )
    for key in (registry, *others):
        found = _look_up(_scoped(key), name)
        if found is not None:
            return found
    raise InputError(
        f'{path}: there is no {_scoped(registry).name} {name!r}'
        + _remedy(name, _scoped(registry))
    )


def _look_up(registry: Registry, name: str) -> Callable | None:
    try:
        return registry.get(name)
    except Exception:  # a dotted name is imported, which may raise anything
        return None


def _remedy(name: str, registry: Registry) -> str:
    """Return advice for an unknown name, to append to the error message."""
    package = name.partition('.')[0]
    if '.' in name and find_spec(package) is None:
        return f'; the package {package} is not installed'
    for other in _everywhere():
        if name in other.module_dict:
            if other.name != registry.name:
                return f'; {name} is a {other.name}'
            return (
                f' in the scope {registry.scope!r}; set default_scope = '
                f'{other.scope!r} in the config'
            )
    return nearest(name, set(_names_of(registry))) or (
        '; if it is your own class, add the module that registers it to '
        'custom_imports'
    )


def _names_of(registry: Registry | None) -> Iterator[str]:
    while registry is not None:
        registry.import_from_location()
        yield from registry.module_dict
        registry = registry.parent


def _everywhere() -> Iterator[Registry]:
    for registry in vars(registries).values():
        if isinstance(registry, Registry):
            yield registry
            yield from registry.children.values()


def _scoped(key: str) -> Registry:
    """Get the registry ``key``, such as ``'MODELS'``, of the current scope.

    If there is no such registry, MMEngine's own one is returned.
    """
    root = getattr(registries, key)
    scope = DefaultScope.get_current_instance()
    if scope is None:
        return root
    try:
        import_module(f'{scope.scope_name}.registry')
    except ImportError:
        return root
    found = root._search_child(scope.scope_name)
    # An empty registry is falsy.
    return root if found is None else found
