# SPDX-License-Identifier: Apache-2.0
"""Search for the settings into which a variable of a config was copied.

For example, a file may contain ``num_classes = 20`` and use this variable as
``model = dict(num_classes=num_classes)``. Changing ``num_classes`` after the
file was read does not change the model. If a user tries to override
``num_classes``, an error message therefore names ``model.num_classes`` as the
setting to override. This module finds such settings.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

_SHOWN = 4
# Types of values that many settings have by chance.
_COMMON = (bool, int, float, type(None))


def places_of(
    cfg: Config, name: str, keys: Collection[str]
) -> list[tuple[str, ...]]:
    """Find the settings into which a variable was probably copied.

    The value of the variable is ``cfg[name]``. The result is the first of
    these groups of settings that is not empty:

    1. Settings with the value of the variable. If the value is a number, a
       bool or None, the settings must also have the name of the variable.
    2. Settings with the name of the variable, but another value.
    3. Strings that contain the value, if the value is a string.

    If the config has no top-level key ``name``, the value is unknown, and the
    result is all settings with this name.

    Args:
        cfg (Config): A whole config.
        name (str): Name of a variable of the config file.
        keys (Collection[str]): Top-level keys; the search is limited to them
            and the settings below them.

    Returns:
        list[tuple[str, ...]]: Path of each setting, such as
        ``('model', 'num_classes')``; empty if none is found.
    """
    known, value = name in cfg, cfg.get(name)
    equal, named, contained = [], [], []
    for path, found in _walk({k: cfg[k] for k in cfg if k in keys}, ()):
        same_name = path[-1] == name
        telling = same_name or not isinstance(value, _COMMON)
        if known and telling and _equal(found, value):
            equal.append(path)
        elif same_name:
            named.append(path)
        elif isinstance(value, str) and isinstance(found, str):
            if value and value in found:
                contained.append(path)
    return equal or named or contained


def name_places(paths: Sequence[tuple[str, ...]], rest: Sequence[str]) -> str:
    """Format paths of settings for a message.

    Args:
        paths (Sequence[tuple[str, ...]]): Paths from :func:`places_of`.
        rest (Sequence[str]): Keys to append to each path.

    Returns:
        str: The first four paths, separated by commas. If there are more, the
        text ends with their number, such as ``and 3 more``.
    """
    shown = ', '.join('.'.join((*path, *rest)) for path in paths[:_SHOWN])
    more = len(paths) - _SHOWN
    return f'{shown} and {more} more' if more > 0 else shown


def _walk(
    node: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield path and value of ``node`` and of all settings nested in it."""
    if path:
        yield path, node
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _walk(value, (*path, str(key)))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _walk(value, (*path, str(index)))


def _equal(one: Any, other: Any) -> bool:
    """Whether two settings are equal. A list can be equal to a tuple."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return list(one) == list(other)
    return type(one) is type(other) and bool(one == other)
