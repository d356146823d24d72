# SPDX-License-Identifier: Apache-2.0
"""Reading of config files, with error messages of one sentence."""

from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import load

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import find_config


def read_config_file(name: str | Path) -> Config:
    """Read a config file and import the modules of its ``custom_imports``.

    Args:
        name (str | Path): Path of the file, or name of a shipped config; see
            :func:`ovseg_mm.utils.paths.find_config`.

    Returns:
        Config: The config.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file is not a config, one of its base configs
            cannot be read, or a module of ``custom_imports`` cannot be
            imported.
    """
    path = find_config(name)
    try:
        if path.suffix != '.py' and not isinstance(load(path), dict):
            raise InputError(
                f'{path} is not a config; expected a dict with keys such as '
                'model and test_dataloader'
            )
        cfg = Config.fromfile(path)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(
            f'{path} needs {error.filename or error}, which does not exist; '
            f'correct _base_ in {path} or in its base configs'
        ) from error
    except ImportError as error:
        raise InputError(f'{path}: {_missing_module(error)}') from error
    except Exception as error:  # a config is a program, which may raise any
        raise InputError(
            f'{path} cannot be read as a config: {_reason(error)}; set '
            'OVSEG_DEBUG=1 to see the whole traceback'
        ) from error
    if not cfg:
        raise InputError(
            f'the config {path} is empty; expected at least a base, such as '
            "_base_ = 'ovseg_mm::cat_seg/CONFIG.py'"
        )
    return cfg


def _missing_module(error: ImportError) -> str:
    """Get the error message about the first import that failed."""
    first: BaseException = error
    while isinstance(first.__context__, ImportError):
        first = first.__context__
    return (
        f'an import of the config fails: {first}; correct custom_imports, '
        'install the package or add its folder to PYTHONPATH'
    )


def _reason(error: Exception) -> str:
    """Describe an error in one line: its type, line number and message."""
    message, where = str(error), ''
    if isinstance(error, SyntaxError):
        message = error.msg
        where = f' in line {error.lineno}' if error.lineno else ''
    elif isinstance(error, KeyError) and error.args:
        # Otherwise the message is in quotes.
        message = str(error.args[0])
    return f'{type(error).__name__}{where}: {" ".join(message.split())}'
