# SPDX-License-Identifier: Apache-2.0
"""Look-up of the class or function in the ``type`` of a config.

In pure-Python configs, ``type`` is the class itself. In other configs, it is
the name of the class, with or without a registry scope
(``'mmseg.CLIPViT'``) or a module (``'ovseg_mm.models.CLIPViT'``).
"""

from collections.abc import Callable, Mapping

from mmengine.registry import Registry


def type_of(cfg: Mapping, registry: Registry) -> type | Callable | None:
    """Get the class or function in the ``type`` of a config.

    Args:
        cfg (Mapping): Config, with or without ``type``.
        registry (Registry): Registry to look up the name in.

    Returns:
        type | Callable | None: The class or function; None if ``type`` is
        missing or has an unknown name.
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
    """Whether the ``type`` of a config is one of the given classes.

    Args:
        cfg (Mapping): Config, with or without ``type``.
        kinds (type | tuple[type, ...]): The classes.
        registry (Registry): Registry to look up the name in.

    Returns:
        bool: True for one of the classes or a sub-class.
    """
    found = type_of(cfg, registry)
    return isinstance(found, type) and issubclass(found, kinds)


def type_name(cfg: Mapping) -> str:
    """Name in the ``type`` of a config, without scope and module."""
    kind = cfg.get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', kind)
    return str(name).rpartition('.')[2]
