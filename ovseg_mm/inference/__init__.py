# SPDX-License-Identifier: Apache-2.0
from .postprocess import argmax_labels, label_scores
from .windows import (
    ViewLayout,
    fuse_views,
    resize,
    sliding_views,
    whole_view,
    window_starts,
)

__all__ = [
    'ViewLayout',
    'argmax_labels',
    'fuse_views',
    'label_scores',
    'resize',
    'sliding_views',
    'whole_view',
    'window_starts',
]
