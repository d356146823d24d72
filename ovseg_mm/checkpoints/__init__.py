# SPDX-License-Identifier: Apache-2.0
"""The one door for weights of others."""

from .clip_arch import clip_arch, clip_shapes
from .clip_weights import load_clip_weights
from .compact import compact_clip, expand_clip, random_token_table
from .files import WeightFile, file_sha256, read_weights, save_atomically
from .layouts import LAYOUTS, Layout, recognise
from .rename import Drop, Renamed, rename

__all__ = [
    'LAYOUTS',
    'Drop',
    'Layout',
    'Renamed',
    'WeightFile',
    'clip_arch',
    'clip_shapes',
    'compact_clip',
    'expand_clip',
    'file_sha256',
    'load_clip_weights',
    'random_token_table',
    'read_weights',
    'recognise',
    'rename',
    'save_atomically',
]
