# SPDX-License-Identifier: Apache-2.0
"""Registries of the scope ``ovseg_mm``, which are empty.

The classes of this package are registered with MMSegmentation. MMEngine looks
up the names of configs called ``ovseg_mm::...`` in the scope ``ovseg_mm``. An
empty registry passes the look-up on to MMSegmentation's registry.
"""

import mmseg.registry
from mmengine.registry import Registry

for _parent in list(vars(mmseg.registry).values()):
    if isinstance(_parent, Registry) and 'ovseg_mm' not in _parent.children:
        Registry(_parent.name, parent=_parent, scope='ovseg_mm')
