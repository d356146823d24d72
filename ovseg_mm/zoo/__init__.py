# SPDX-License-Identifier: Apache-2.0
"""Named models: table, resolution of names, weights in the cache.

This module can be imported without PyTorch and MMSegmentation.
"""

from .resolve import (
    ModelSource,
    add_model_arguments,
    model_of_arguments,
    resolve_model,
)
from .table import DEFAULT_MODEL, WeightsFile, ZooModel, find_model, zoo_models

__all__ = [
    'DEFAULT_MODEL',
    'ModelSource',
    'WeightsFile',
    'ZooModel',
    'add_model_arguments',
    'find_model',
    'model_of_arguments',
    'resolve_model',
    'zoo_models',
]
