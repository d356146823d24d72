# SPDX-License-Identifier: Apache-2.0
"""Layouts of published checkpoints, one module for each method.

A layout is the naming scheme of the tensors in a file. Importing a module
registers its layouts.
"""

from . import (
    cascade_clip,
    cat_seg,
    cat_seg_v1,
    clip,
    resnet,
    scan,
    swin,
    zsseg,
)
from .layout import LAYOUTS, Layout, LayoutRegistry, recognise

__all__ = [
    'LAYOUTS',
    'Layout',
    'LayoutRegistry',
    'cascade_clip',
    'cat_seg',
    'cat_seg_v1',
    'clip',
    'recognise',
    'resnet',
    'scan',
    'swin',
    'zsseg',
]
