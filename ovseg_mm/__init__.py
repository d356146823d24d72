# SPDX-License-Identifier: Apache-2.0
"""Open-vocabulary semantic segmentation for MMSegmentation 1.x.

Importing this package registers its modules with MMSegmentation.
"""

import importlib
import sys

from .utils.stack import check_stack, import_stack
from .version import __version__

__all__ = ['__version__', 'register']


def register() -> None:
    """Register data sets, models, metrics, hooks and visualizers.

    Raises:
        ImportError: If MMSegmentation is missing or broken. The message has
            a command that repairs the installation.
    """
    check_stack()
    import_stack()
    for name in ('datasets', 'engine', 'evaluation', 'models'):
        importlib.import_module(f'{__name__}.{name}')
    for name in ('visualization', 'registry'):
        importlib.import_module(f'{__name__}.{name}')
    importlib.import_module(f'{__name__}.compat.hub').register_names()


def _is_own_command() -> bool:
    """Whether Python was started with ``-m ovseg_mm``.

    While ``python -m ovseg_mm`` imports this package, ``sys.argv[0]`` is
    ``'-m'``. At this time, only ``sys.orig_argv`` has the name ``ovseg_mm``.
    """
    if sys.argv[:1] != ['-m']:
        return False
    module = sys.orig_argv[-len(sys.argv)]
    return module in (__name__, f'-m{__name__}')


# `python -m ovseg_mm doctor` must run with a broken installation, so commands
# call register() themselves. Every other import registers at once.
if not _is_own_command():
    register()
