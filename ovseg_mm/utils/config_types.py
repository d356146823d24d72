# SPDX-License-Identifier: Apache-2.0
"""The ``type`` of a config, which is a name or the class itself.

Pure-Python configs give classes, others names, with or without the scope of
a registry (``'mmseg.CLIPViT'``) or the module (``'ovseg_mm.models.CLIPViT'``).
"""

from collections.abc import Callable, Mapping

from mmengine.registry import Registry


def type_of(cfg: Mapping, registry: Registry) -> type | Callable | None:
    """Class or function that a config is built with.

    Args:
        cfg (Mapping): With ``type``, or without.
        registry (Registry): Where names are looked up.

    Returns:
        type | Callable | None: None if there is no ``type``, or none of that
        name.
    """
    kind = cfg.get('type')
    if not isinstance(kind, str):
        return kind
    try:
        return registry.get(kind)
    except RuntimeError:  # a name that is not that of a module either
        return None


def is_type(
    cfg: Mapping, kinds: type | tuple[type, ...], registry: Registry
) -> bool:
    """Whether a config builds one of some classes, or a sub-class of one.

    Args:
        cfg (Mapping): With ``type``, or without.
        kinds (type | tuple[type, ...]): The classes.
        registry (Registry): Where names are looked up.
    """
    found = type_of(cfg, registry)
    return isinstance(found, type) and issubclass(found, kinds)


def type_name(cfg: Mapping) -> str:
    """Name of a config's ``type`` without scope or module, for messages."""
    kind = cfg.get('type')
    if not isinstance(kind, str):
        kind = getattr(kind, '__name__', str(kind))
    return kind.rpartition('.')[2]
