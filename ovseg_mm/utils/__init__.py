# SPDX-License-Identifier: Apache-2.0
"""Helpers that every other part of the package may import."""


def register_all_modules(init_default_scope: bool = True) -> None:
    """Register everything; MMEngine's hub calls this by its name.

    Args:
        init_default_scope (bool): Whether names are looked up in
            MMSegmentation's scope from now on, if no scope was set.
    """
    from mmengine import registry

    import ovseg_mm

    ovseg_mm.register()
    scope = registry.DefaultScope.get_current_instance()
    if init_default_scope and scope is None:
        registry.init_default_scope('mmseg')
