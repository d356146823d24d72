# SPDX-License-Identifier: Apache-2.0
"""Helper functions that several sub-packages use."""


def register_all_modules(init_default_scope: bool = True) -> None:
    """Register all modules of MMSegmentation and this package.

    MMEngine's model hub calls ``PACKAGE.utils.register_all_modules``, so the
    function must have this name and place.

    Args:
        init_default_scope (bool): Whether to set ``'mmseg'`` as the default
            scope of the registries. An existing default scope is kept.
    """
    from mmengine import registry

    import ovseg_mm

    ovseg_mm.register()
    scope = registry.DefaultScope.get_current_instance()
    if init_default_scope and scope is None:
        registry.init_default_scope('mmseg')
