# SPDX-License-Identifier: Apache-2.0
"""Reading, conversion and loading of weight files."""

from .clip_arch import clip_arch, clip_shapes
from .clip_weights import load_clip_weights
from .compact import compact_clip, expand_clip, random_token_table
from .convert import (
    ConversionReport,
    convert,
    load_checkpoint_into,
)
from .files import (
    WeightFile,
    check_finite,
    check_whole,
    read_content,
    read_weights,
    save_atomically,
    state_dict_of,
)
from .fit import check_fit, fit_to_model, method_of
from .layouts import LAYOUTS, Layout, recognise
from .rename import (
    Drop,
    Renamed,
    map_tensor,
    rename,
    split_rows,
    unsharded_name,
)

__all__ = [
    'LAYOUTS',
    'ConversionReport',
    'Drop',
    'Layout',
    'Renamed',
    'WeightFile',
    'check_finite',
    'check_fit',
    'check_whole',
    'clip_arch',
    'clip_shapes',
    'compact_clip',
    'convert',
    'expand_clip',
    'fit_to_model',
    'load_checkpoint_into',
    'load_clip_weights',
    'map_tensor',
    'method_of',
    'random_token_table',
    'read_content',
    'read_weights',
    'recognise',
    'rename',
    'save_atomically',
    'split_rows',
    'state_dict_of',
    'unsharded_name',
]
