# SPDX-License-Identifier: Apache-2.0
"""Empty registries for the scope ``ovseg_mm``.

The classes of this package are in MMSegmentation's registries. If a config is
loaded by a name such as ``ovseg_mm::cat_seg/...``, MMEngine looks up its
classes in the scope ``ovseg_mm``. The empty registries of this scope have
MMSegmentation's registries as parents, in which the look-up continues.
"""

import mmseg.registry
from mmengine.registry import Registry

for _parent in list(vars(mmseg.registry).values()):
    if isinstance(_parent, Registry) and 'ovseg_mm' not in _parent.children:
        Registry(_parent.name, parent=_parent, scope='ovseg_mm')
