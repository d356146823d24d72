# SPDX-License-Identifier: Apache-2.0
"""Where files are: the package's own, the user's cache, unfinished ones."""

import glob
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import InputError

# Name of a file while it is written; a killed process may leave one.
_TEMPORARY = '.{name}.{token}.tmp'
# So much of the file's own name, since file systems limit the length.
_SHOWN_NAME = 100
CONFIG_SUFFIXES = ('.py', '.yml', '.yaml', '.json')
_PACKAGE = Path(__file__).resolve().parents[1]


def expanded(path: str | Path) -> Path:
    """Path with ``~`` expanded.

    Raises:
        InputError: If it begins with the name of a user that there is not.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise InputError(
            f'{path}: this computer has no home folder {user}; write the '
            f'path out, or ./{user} for a file of that name'
        ) from None


def resource(*parts: str) -> Path:
    """Path of a file or folder of the project.

    ``configs``, ``tools`` and ``data`` lie beside the package in a checkout
    or an editable install, and in its ``.mim`` folder in a wheel.

    Args:
        *parts (str): Such as ``'configs', 'cat_seg'``.
    """
    root = _PACKAGE / '.mim'
    if not (root / 'configs').is_dir():
        root = _PACKAGE.parent
    return root.joinpath(*parts)


def find_config(name: str | Path) -> Path:
    """Config file by path, or a shipped one by its bare file name.

    Args:
        name (str | Path): Path; or file name of a shipped config, with or
            without ``.py`` and with or without its folders (``cat_seg/...``).

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is a folder or a file of another kind.
    """
    path = expanded(name)
    if path.is_file():
        if path.suffix not in CONFIG_SUFFIXES:
            raise InputError(
                f'{name} is not a config file ({", ".join(CONFIG_SUFFIXES)}); '
                'the checkpoint and the config may have changed places'
            )
        return path
    file = path if path.suffix == '.py' else Path(f'{path}.py')
    root = resource('configs')
    for config in sorted(root.rglob('*.py')):
        parts = config.relative_to(root.parent).parts
        if '_base_' not in parts and parts[-len(file.parts) :] == file.parts:
            return config
    if str(name) and path.is_dir():
        raise InputError(
            f'{name} is a folder, not a config file '
            f'({", ".join(CONFIG_SUFFIXES)})'
        )
    raise FileNotFoundError(
        f'{name}: there is no such config file, here or among the shipped '
        "ones; 'python -m ovseg_mm models' lists those"
    )


def find_weights(name: str | Path) -> Path:
    """Weight file by path; a relative one also beside the package.

    Args:
        name (str | Path): Path; ``~`` is expanded. A relative path that
            leads nowhere from the current folder is taken from the
            project's root, where ``data/toy_clip.safetensors`` lies.

    Returns:
        Path: The path, whether there is a file or not.
    """
    path = expanded(name)
    shipped = resource(path)
    return shipped if not path.exists() and shipped.exists() else path


def cache_folder() -> Path:
    """Folder for what can be computed again: ``$OVSEG_CACHE`` if set."""
    folder = os.environ.get('OVSEG_CACHE')
    if folder:
        return expanded(folder)
    base = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    return expanded(base) / 'ovseg_mm'


def check_destination(path: str | Path) -> None:
    """Refuse a file name that cannot be written without harm.

    A finished file takes its name by renaming, which would put it in place of
    a device or a pipe, and of a file that is protected from writing.

    Args:
        path (str | Path): The file to write; links are followed.

    Raises:
        OSError: If there is anything but a file that may be written, or the
            folder does not exist or cannot be written.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise OSError(
            f'{path} cannot be written: {error.strerror or error}'
        ) from error
    if mode is not None and not stat.S_ISREG(mode):
        raise OSError(
            f'{path} cannot be written: it is {_kind_of(mode)}, not a file; '
            'give the name of a file'
        )
    # Root may write such a file, but did not mean to.
    if mode is not None and not mode & 0o222:
        raise PermissionError(
            f'{path} cannot be written: the file is read-only; give another '
            'name or allow writing with chmod'
        )
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f'{path} cannot be written: the folder {folder} does not exist; '
            'make it first'
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(
            f'{path} cannot be written: the folder {folder} is read-only; '
            'name another one'
        )


def path_inside(folder: str | Path, name: str) -> Path:
    """Path of a file in a folder; the name may not lead out of it.

    Args:
        folder (str | Path): The folder.
        name (str): Name of the file, perhaps in a folder below.

    Raises:
        ValueError: If the name is absolute or goes upwards.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or '..' in parts:
        raise InputError(
            f'the name {name!r} leads out of the folder {folder}; expected a '
            'path below it, without ".."'
        )
    return Path(folder, name)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing that is whole or not there.

    The content goes to a temporary file in the same folder, of a random name
    and never an existing one, and takes its name when the block ends.

    >>> with atomic_write(path) as file:
    ...     file.write(content)

    Args:
        path (str | Path): The file; it is there or replaced when the block
            ends.

    Yields:
        BinaryIO: The open temporary file.

    Raises:
        OSError: If it cannot be written, or ``path`` is anything but a file
            (see :func:`check_destination`); the message names the file and
            the reason.
    """
    path = Path(path)
    check_destination(path)
    temporary = None
    try:
        temporary, file = _open_temporary(path)
        with file:
            yield file
        os.replace(temporary, path)
        temporary = None
    except (OSError, RuntimeError) as error:
        # torch.save hides a full disk behind a RuntimeError of its own.
        while error is not None and not isinstance(error, OSError):
            error = error.__context__
        if error is None:
            raise
        reason = error.strerror or error
        raise OSError(f'{path} cannot be written: {reason}') from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, UTF-8, that is whole or not there."""
    with atomic_write(path) as file:
        file.write(text.encode('utf-8'))


def to_disk(file: BinaryIO) -> None:
    """Wait until what was written is on the disk, which takes a while."""
    file.flush()
    os.fsync(file.fileno())


def remove_leftovers(folder: Path, name: str = '*') -> None:
    """Remove temporary files that killed processes have left.

    Args:
        folder (Path): Where they are. No other process may write there now.
        name (str): File that they were to become; all by default.
    """
    known = '*' if name == '*' else glob.escape(name[:_SHOWN_NAME])
    for leftover in folder.glob(_TEMPORARY.format(name=known, token='*')):
        leftover.unlink(missing_ok=True)


def _open_temporary(path: Path) -> tuple[Path, BinaryIO]:
    """Make a new file beside another one; never opens what is there."""
    name = _TEMPORARY.format(
        name=path.name[:_SHOWN_NAME], token=secrets.token_hex(8)
    )
    temporary = path.with_name(name)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    flags |= getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_BINARY', 0)
    return temporary, open(os.open(temporary, flags, 0o666), 'w+b')


def _kind_of(mode: int) -> str:
    kinds = {
        stat.S_ISDIR: 'a folder',
        stat.S_ISFIFO: 'a pipe',
        stat.S_ISSOCK: 'a socket',
    }
    found = [kind for test, kind in kinds.items() if test(mode)]
    return found[0] if found else 'a device'
