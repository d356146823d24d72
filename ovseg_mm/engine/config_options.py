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
    error for settings that have no effect, and supports integer keys.

    Args:
        cfg (Config): Changed in place.
        options (Mapping): Values by dotted key, such as
            ``{'model.test_cfg.mode': 'whole'}``. A number in a key is an
            index of a list.

    Raises:
        InputError: If the first part of a key is unknown and not in the
            config, if the first part is a variable that sets others,
            if the key goes through a value that is neither a dict nor a list,
            or if a list has no element with this index.
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

    A key that the config lacks raises an InputError, and so does a variable
    that has set other settings. Any other key of the config gives a warning,
    because code of the user may read it.
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
            else f'the config has no {first!r}'
        )
        raise InputError(
            f'{key} cannot be set: {reason}; set {name_places(places, path)}'
        )
    if not known:
        raise InputError(
            f'{key} cannot be set: the config has no {first!r}, and nothing '
            f'reads it{nearest(first, {*cfg, *RUN_KEYS})}'
        )
    warnings.warn(
        f'{key} is set, but neither MMEngine nor ovseg_mm reads {first!r}; it '
        'has an effect only if code of your own reads it',
        stacklevel=3,
    )


def _merged(node: Any, path: Sequence[str], value: Any, key: str) -> Any:
    """Copy of ``node`` in which the setting at ``path`` is ``value``."""
    if not path:
        return _with_value(node, value)
    part, rest = path[0], path[1:]
    if isinstance(node, list):
        index = _index(node, part, key)
        below = _merged(node[index], rest, value, key)
        return [*node[:index], below, *node[index + 1 :]]
    if node is not None and not isinstance(node, dict):
        raise InputError(
            f'{key} cannot be set: {part!r} is looked up in {node!r}, which '
            'is neither a dict nor a list; set the whole value instead'
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
            'it is empty; set the whole list instead'
        )
    raise InputError(
        f'{key} cannot be set: {part!r} is not an index of the list, which '
        f'has {len(node)} elements; use 0 to {len(node) - 1}'
    )
