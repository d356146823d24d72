# SPDX-License-Identifier: Apache-2.0
from .calibration import (
    geometric_ensemble,
    penalise_seen,
    region_weights,
    with_no_object,
)
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
    'geometric_ensemble',
    'label_scores',
    'penalise_seen',
    'region_weights',
    'resize',
    'sliding_views',
    'whole_view',
    'window_starts',
    'with_no_object',
]
