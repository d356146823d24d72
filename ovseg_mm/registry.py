# SPDX-License-Identifier: Apache-2.0
"""Registries of the scope ``ovseg_mm``.

They are empty: all of our classes are registered with MMSegmentation. A name
that is looked up in this scope, as MMEngine does for configs named
``ovseg_mm::...``, is found there.
"""

import mmseg.registry
from mmengine.registry import Registry

for _parent in list(vars(mmseg.registry).values()):
    if isinstance(_parent, Registry) and 'ovseg_mm' not in _parent.children:
        Registry(_parent.name, parent=_parent, scope='ovseg_mm')
