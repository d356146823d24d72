# SPDX-License-Identifier: Apache-2.0
from .calibration import (
    contenders,
    geometric_ensemble,
    join_votes,
    penalise_seen,
    region_weights,
    with_no_object,
)
from .labelling import Labelling
from .postprocess import argmax_labels, label_scores
from .precision import HALF, amp_dtype, in_float32, mixed_precision
from .refinement import PixelRefiner
from .score_map import FLIPPED_AXES, ScoreMap, view_logits
from .windows import fuse_views, sliding_views, whole_view, window_starts

__all__ = [
    'FLIPPED_AXES',
    'HALF',
    'Labelling',
    'PixelRefiner',
    'ScoreMap',
    'amp_dtype',
    'argmax_labels',
    'contenders',
    'fuse_views',
    'geometric_ensemble',
    'in_float32',
    'join_votes',
    'label_scores',
    'mixed_precision',
    'penalise_seen',
    'region_weights',
    'sliding_views',
    'view_logits',
    'whole_view',
    'window_starts',
    'with_no_object',
]
