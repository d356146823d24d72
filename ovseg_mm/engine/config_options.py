# SPDX-License-Identifier: Apache-2.0
"""Overriding of settings, such as ``model.test_cfg.mode=whole``."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from ovseg_mm.utils.errors import InputError, nearest

from .config_check import RUN_KEYS
from .config_variables import name_places, places_of

_DELETE = '_delete_'


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Override settings of a config.

    Unlike ``Config.merge_from_dict``, this function raises a one-sentence
    error for a setting that has no effect. It also supports dicts with
    integer keys.

    Args:
        cfg (Config): Config, changed in place.
        options (Mapping): Values by dotted key, such as
            ``{'model.test_cfg.mode': 'whole'}``. In a list, the number in a
            key is the index of an element.

    Raises:
        InputError: If the top-level key is neither in the config nor a setting
            of MMEngine; if it is a variable of the config file that was
            copied into other settings; if a key continues below a value that
            is neither a dict nor a list; or if the part of a key that belongs
            to a list is not an index of this list.
    """
    for key, value in options.items():
        first, *path = key.split('.')
        if first not in RUN_KEYS:
            _check_is_read(cfg, key, first, path)
        cfg[first] = _merged(cfg.get(first), path, value, key)


def _check_is_read(
    cfg: Config, key: str, first: str, path: Sequence[str]
) -> None:
    """Raise or warn about a top-level key that the run does not read.

    The function raises an InputError if the config does not have the key, or
    if the key is a variable of the config file that was copied into other
    settings. For any other key, it gives a warning, because code of the user
    may read the key.
    """
    # These pipelines are copies of the pipeline of the test set.
    read = set(RUN_KEYS) - {'test_pipeline', 'tta_pipeline'}
    places = places_of(cfg, first, read)
    known = first in cfg
    if places:
        reason = (
            f'{first} is a variable of the config file; changing it after '
            'the file was read has no effect'
            if known
            else f'the config has no key {first!r}'
        )
        raise InputError(
            f'{key} cannot be set: {reason}; set {name_places(places, path)}'
        )
    if not known:
        raise InputError(
            f'{key} cannot be set: {first!r} is neither a key of the config '
            'nor a setting of MMEngine'
            f'{nearest(first, {*cfg, *RUN_KEYS})}; correct or remove it'
        )
    warnings.warn(
        f'{key} is set, but neither MMEngine nor ovseg_mm reads {first!r}; it '
        'has an effect only if your own code reads it',
        stacklevel=3,
    )


def _merged(node: Any, path: Sequence[str], value: Any, key: str) -> Any:
    """Return a copy of ``node`` with ``value`` as the setting at ``path``."""
    if not path:
        return _with_value(node, value)
    part, rest = path[0], path[1:]
    if isinstance(node, list):
        index = _index(node, part, key)
        below = _merged(node[index], rest, value, key)
        return [*node[:index], below, *node[index + 1 :]]
    if node is not None and not isinstance(node, dict):
        raise InputError(
            f'{key} cannot be set: {node!r} has no entry {part!r}, because '
            'it is neither a dict nor a list; replace this value as a whole'
        )
    copied = ConfigDict() if node is None else node.copy()
    # Keys of label_map are integers.
    name = int(part) if part.isdecimal() and int(part) in copied else part
    copied[name] = _merged(copied.get(name), rest, value, key)
    return copied


def _with_value(node: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    value = dict(value)
    if value.pop(_DELETE, False) or not isinstance(node, dict):
        return ConfigDict(value)
    merged = node.copy()
    for name, below in value.items():
        merged[name] = _with_value(node.get(name), below)
    return merged


def _index(node: list, part: str, key: str) -> int:
    if part.isdecimal() and int(part) < len(node):
        return int(part)
    if not node:
        raise InputError(
            f'{key} cannot be set: the list has no element {part!r}, because '
            'it is empty; set the whole list'
        )
    raise InputError(
        f'{key} cannot be set: {part!r} is not an index of the list, which '
        f'has {len(node)} elements; use 0 to {len(node) - 1}'
    )
