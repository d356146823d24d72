# SPDX-License-Identifier: Apache-2.0
"""Open-vocabulary semantic segmentation for MMSegmentation 1.x.

Importing the package registers everything with MMSegmentation.
"""

import importlib
import sys

from .utils.stack import check_stack, import_stack
from .version import __version__

__all__ = ['__version__', 'register']


def register() -> None:
    """Register data sets, models, metrics, hooks and visualisers.

    Raises:
        ImportError: If MMSegmentation is missing or broken, with the
            command that mends it.
    """
    check_stack()
    import_stack()
    for name in ('datasets', 'engine', 'evaluation', 'models'):
        importlib.import_module(f'{__name__}.{name}')
    for name in ('visualization', 'registry'):
        importlib.import_module(f'{__name__}.{name}')
    importlib.import_module(f'{__name__}.compat.hub').register_names()


# `python -m ovseg_mm` comes by here before its command is known. `doctor`
# must run where the installation is broken, so commands register themselves.
if sys.argv[:1] != ['-m']:
    register()
