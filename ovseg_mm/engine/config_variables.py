# SPDX-License-Identifier: Apache-2.0
"""Variables of a config file, which have no effect after it was read."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

_SHOWN = 4
# Variables with such a value are found by their name alone.
_COMMON = (bool, int, float, type(None))


def places_of(
    cfg: Config, name: str, keys: Collection[str]
) -> list[tuple[str, ...]]:
    """Settings that have the value of a variable, or its name.

    Args:
        cfg (Config): A whole config.
        name (str): Top-level key, whether the config has it or not.
        keys (Collection[str]): Top-level keys that are read.

    Returns:
        list[tuple[str, ...]]: Paths of settings with the same value. If there
        are none, of settings with the same name; if there are none either, of
        texts that contain the value.
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
    """Join paths to settings for a message.

    Args:
        paths (Sequence[tuple[str, ...]]): Result of :func:`places_of`.
        rest (Sequence[str]): Keys that follow each of them.

    Returns:
        str: Such as ``'val_dataloader.dataset.data_root and 1 more'``.
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
