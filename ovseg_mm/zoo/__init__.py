# SPDX-License-Identifier: Apache-2.0
"""Models that can be chosen by name, such as ``'sc-clip'``.

The modules read the list of these models, find the config of a name, and keep
the downloaded weights in a cache. They can be imported without PyTorch and
MMSegmentation.
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
