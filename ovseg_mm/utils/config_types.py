# SPDX-License-Identifier: Apache-2.0
"""Look-up of the class or function that a config has under ``type``.

In pure-Python configs, ``type`` is the class itself. In other configs,
``type`` is the name of the class: alone, with a registry scope
(``'mmseg.CLIPViT'``) or with a module (``'ovseg_mm.models.CLIPViT'``).
"""

from collections.abc import Callable, Mapping

from mmengine.registry import Registry


def type_of(cfg: Mapping, registry: Registry) -> type | Callable | None:
    """Get the class or function that a config has under ``type``.

    Args:
        cfg (Mapping): Config, with or without ``type``.
        registry (Registry): Registry in which ``type`` is looked up if it is
            a name.

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
    """Whether the ``type`` of a config is one of several classes.

    Args:
        cfg (Mapping): Config, with or without ``type``.
        kinds (type | tuple[type, ...]): Class or classes to compare with.
        registry (Registry): Registry in which ``type`` is looked up if it is
            a name.

    Returns:
        bool: True if ``type`` is one of the classes or a sub-class of one.
    """
    found = type_of(cfg, registry)
    return isinstance(found, type) and issubclass(found, kinds)


def type_name(cfg: Mapping) -> str:
    """Get the name of the ``type`` of a config, without scope and module."""
    kind = cfg.get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', kind)
    return str(name).rpartition('.')[2]
