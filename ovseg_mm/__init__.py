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
            command that repairs it.
    """
    check_stack()
    import_stack()
    for name in ('datasets', 'engine', 'evaluation', 'models'):
        importlib.import_module(f'{__name__}.{name}')
    for name in ('visualization', 'registry'):
        importlib.import_module(f'{__name__}.{name}')
    importlib.import_module(f'{__name__}.compat.hub').register_names()


def _is_own_command() -> bool:
    """Return whether Python was started with ``-m ovseg_mm``.

    While Python looks for the module of ``-m``, ``sys.argv[0]`` is ``'-m'``.
    Only ``sys.orig_argv`` has the name of the module, before its arguments.
    """
    if sys.argv[:1] != ['-m']:
        return False
    module = sys.orig_argv[-len(sys.argv)]
    return module in (__name__, f'-m{__name__}')


# `python -m ovseg_mm doctor` must run where the installation is broken: the
# commands register themselves. Every other import registers at once.
if not _is_own_command():
    register()
