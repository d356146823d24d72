# SPDX-License-Identifier: Apache-2.0
"""The one door for weights of others."""

from .clip_arch import clip_arch, clip_shapes
from .clip_weights import load_clip_weights
from .compact import compact_clip, expand_clip, random_token_table
from .convert import (
    ConversionReport,
    check_fit,
    convert,
    fit_to_model,
    load_checkpoint_into,
)
from .files import (
    WeightFile,
    check_finite,
    check_whole,
    file_sha256,
    read_content,
    read_weights,
    save_atomically,
    state_dict_of,
)
from .layouts import LAYOUTS, Layout, method_of, recognise
from .rename import Drop, Renamed, plain_name, rename

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
    'file_sha256',
    'fit_to_model',
    'load_checkpoint_into',
    'load_clip_weights',
    'method_of',
    'plain_name',
    'random_token_table',
    'read_content',
    'read_weights',
    'recognise',
    'rename',
    'save_atomically',
    'state_dict_of',
]
