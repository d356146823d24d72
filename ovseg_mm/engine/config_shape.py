# SPDX-License-Identifier: Apache-2.0
"""Checks for missing parts of a config, and for parts that are not dicts."""

from collections.abc import Collection, Mapping
from typing import Any

from mmengine.config import Config

from ovseg_mm.utils.errors import InputError

# Keys that MMEngine needs for each loop.
_LOOPS = dict(
    training=('train_dataloader', 'train_cfg', 'optim_wrapper'),
    validation=('val_dataloader', 'val_cfg', 'val_evaluator'),
    testing=('test_dataloader', 'test_cfg', 'test_evaluator'),
)
_LISTS = (
    *('val_evaluator', 'test_evaluator', 'test_pipeline', 'tta_pipeline'),
    *('param_scheduler', 'custom_hooks'),
)
_MODEL_PARTS = (
    *('backbone', 'neck', 'decode_head', 'auxiliary_head', 'text_encoder'),
    *('region_encoder', 'data_preprocessor', 'clip', 'prompts', 'test_cfg'),
)


def check_parts_are_dicts(
    cfg: Config,
    parts: Collection[str],
    keys: Collection[str] | None = None,
) -> None:
    """Raise if a config has no model, or if one of its parts is not a dict.

    Args:
        cfg (Config): A whole config.
        parts (Collection[str]): Top-level keys whose values must be dicts or
            None. The values of some keys, such as ``custom_hooks``, may also
            be lists.
        keys (Collection[str], optional): Only these keys of ``parts`` are
            checked. None: all of them.

    Raises:
        InputError: If the model or its type is missing, or if a value has a
            wrong type, such as a number.
    """
    wanted = [key for key in parts if keys is None or key in keys]
    model = cfg.get('model')
    if 'model' in wanted and not model:
        raise InputError(
            f'{cfg.filename or "the config"} has no model; base it on a '
            "config with a model, _base_ = ['...']"
        )
    for key in wanted:
        _check_is_dict(cfg.get(key), key, key in _LISTS)
    if 'model' in wanted and isinstance(model, Mapping):
        if 'type' not in model:
            raise InputError(
                'model has no type; add the class of the segmentor, such as '
                "type='OpenVocabSegmentor'"
            )
        for key in _MODEL_PARTS:
            _check_is_dict(model.get(key), f'model.{key}', True)


def check_loops(cfg: Config, wanted: str | None = None) -> None:
    """Raise if a config has only some of the keys that a loop needs.

    Args:
        cfg (Config): A whole config.
        wanted (str, optional): Loop that the run needs, ``'training'`` or
            ``'testing'``. The config must have all keys of this loop. For
            each other loop, it must have all keys or none of them. None: the
            run needs no particular loop.

    Raises:
        InputError: If a needed key is missing or has the value None.
    """
    for loop, keys in _LOOPS.items():
        missing = [key for key in keys if cfg.get(key) is None]
        if missing and (loop == wanted or len(missing) < len(keys)):
            raise InputError(
                f'{cfg.filename or "the config"} has no '
                f'{" and no ".join(missing)}; {loop} needs all of '
                f'{", ".join(keys)}'
            )


def _check_is_dict(value: Any, path: str, or_list: bool = False) -> None:
    kinds = (Mapping, list, tuple) if or_list else Mapping
    if value is not None and not isinstance(value, kinds):
        raise InputError(
            f'{path}={value!r} is not a dict; expected dict(type=...)'
        )
