# SPDX-License-Identifier: Apache-2.0
"""Search for the settings that a variable of a config file has set.

For example, a file may contain ``num_classes = 20`` and use this variable as
``model = dict(num_classes=num_classes)``. Changing the variable after
the file was read has no effect, so error messages name these settings instead.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

_SHOWN = 4
# Values of these types are so common that only the name counts.
_COMMON = (bool, int, float, type(None))


def places_of(
    cfg: Config, name: str, keys: Collection[str]
) -> list[tuple[str, ...]]:
    """Find the settings that a variable of a config file has probably set.

    The function first looks for settings with the value of the variable. If
    there are none, it looks for settings with the name of the variable, and
    then for strings that contain the value.

    Args:
        cfg (Config): A whole config.
        name (str): Name of the variable, or of a key that the config lacks.
        keys (Collection[str]): Top-level keys below which to search.

    Returns:
        list[tuple[str, ...]]: Paths of the settings; empty if there are none.
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
        str: The first four paths, separated by commas, and the number of
        other paths.
    """
    shown = ', '.join('.'.join((*path, *rest)) for path in paths[:_SHOWN])
    more = len(paths) - _SHOWN
    return f'{shown} and {more} more' if more > 0 else shown


def _walk(
    node: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths and values of all settings below a part of a config."""
    if path:
        yield path, node
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _walk(value, (*path, str(key)))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _walk(value, (*path, str(index)))


def _equal(one: Any, other: Any) -> bool:
    """Whether two settings are equal; a list may equal a tuple."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return list(one) == list(other)
    return type(one) is type(other) and bool(one == other)
