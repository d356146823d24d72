# SPDX-License-Identifier: Apache-2.0
"""Class or function that the ``type`` of a config names.

``type`` is the class itself in pure-Python configs and a name in others, with
or without the scope of a registry (``'mmseg.CLIPViT'``) or the module
(``'ovseg_mm.models.CLIPViT'``).
"""

from collections.abc import Callable, Mapping

from mmengine.registry import Registry


def type_of(cfg: Mapping, registry: Registry) -> type | Callable | None:
    """Class or function that builds a config.

    Args:
        cfg (Mapping): Config, with or without ``type``.
        registry (Registry): Registry to look names up in.

    Returns:
        type | Callable | None: None if ``type`` is missing or its name
        unknown.
    """
    kind = cfg.get('type')
    if not isinstance(kind, str):
        return kind
    try:
        return registry.get(kind)
    except RuntimeError:  # not the name of a module either
        return None


def is_type(
    cfg: Mapping, kinds: type | tuple[type, ...], registry: Registry
) -> bool:
    """Whether a config builds an instance of the given classes.

    Args:
        cfg (Mapping): Config, with or without ``type``.
        kinds (type | tuple[type, ...]): The classes.
        registry (Registry): Registry to look names up in.

    Returns:
        bool: True for a sub-class too.
    """
    found = type_of(cfg, registry)
    return isinstance(found, type) and issubclass(found, kinds)


def type_name(cfg: Mapping) -> str:
    """Name of a config's ``type`` without scope and module, for messages."""
    kind = cfg.get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', kind)
    return str(name).rpartition('.')[2]
