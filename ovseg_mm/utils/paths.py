# SPDX-License-Identifier: Apache-2.0
"""Paths of files that are shipped or cached, and safe writing of files."""

import glob
import hashlib
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
# Number of characters of the final name in the temporary name, whose length is
# limited.
_SHOWN_NAME = 100
# Name instead of a checkpoint, for launchers that require the option:
# `mim test ... --checkpoint none`.
NO_CHECKPOINT = 'none'
CONFIG_SUFFIXES = ('.py', '.yml', '.yaml', '.json')
_PACKAGE = Path(__file__).resolve().parents[1]


def expanded(path: str | Path) -> Path:
    """Expand ``~`` or ``~user`` at the start of a path.

    Args:
        path (str | Path): Path; ``~`` at its start is optional.

    Returns:
        Path: The expanded path.

    Raises:
        InputError: If this computer does not know the user of ``~user``.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise InputError(
            f'{path}: this computer has no home folder {user}; write the '
            f'whole path, or ./{user} if the name of the file starts with ~'
        ) from None


def resource(*parts: str | Path) -> Path:
    """Get the path of a file or folder that is shipped with the package.

    The folders ``configs``, ``tools`` and ``data`` are next to the package in
    a checkout or editable install. A wheel has them in the folder ``.mim`` of
    the package.

    Args:
        *parts (str | Path): Parts of the path, such as
            ``'configs', 'cat_seg'``.

    Returns:
        Path: The path. The function does not check whether the file or folder
        exists.
    """
    root = _PACKAGE / '.mim'
    if not (root / 'configs').is_dir():
        root = _PACKAGE.parent
    return root.joinpath(*parts)


def find_config(name: str | Path) -> Path:
    """Find a config file by its path, or a shipped config by its name.

    Args:
        name (str | Path): Path of a config file; or name of a shipped config
            in the form ``'NAME'``, ``'NAME.py'`` or ``'cat_seg/NAME'``.

    Returns:
        Path: Path of the config file.

    Raises:
        FileNotFoundError: If there is neither a file with this path nor a
            shipped config with this name.
        InputError: If the path is a folder, or its suffix is not in
            ``CONFIG_SUFFIXES``.
    """
    path = expanded(name)
    if path.is_file():
        if path.suffix not in CONFIG_SUFFIXES:
            raise InputError(
                f'{name} is not a config file ({", ".join(CONFIG_SUFFIXES)}); '
                'check whether the checkpoint and the config are swapped'
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
            f'{name} is a folder; give the path of a config file '
            f'({", ".join(CONFIG_SUFFIXES)})'
        )
    raise FileNotFoundError(
        f'{name}: there is no such config file, neither by path nor by name; '
        "run 'python -m ovseg_mm models' to list the shipped configs"
    )


def find_weights(name: str | Path) -> Path:
    """Find a weight file by its path, or a weight file of the package.

    Args:
        name (str | Path): Path; ``~`` is expanded. If there is no such file,
            the path is taken relative to the shipped files, such as
            ``data/toy_clip.safetensors``; see :func:`resource`.

    Returns:
        Path: Path of the file. If there is none, ``name`` with ``~`` expanded.
    """
    path = expanded(name)
    shipped = resource(path)
    return shipped if not path.exists() and shipped.exists() else path


def find_checkpoint(name: str | Path | None) -> Path | None:
    """Check early that a checkpoint exists.

    Args:
        name (str | Path, optional): Path; ``~`` is expanded. None or
            ``'none'``: the model uses only CLIP's weights.

    Returns:
        Path | None: Path of the checkpoint; None if ``name`` is None or
        ``'none'``.

    Raises:
        FileNotFoundError: If the checkpoint does not exist.
    """
    if name is None or str(name) == NO_CHECKPOINT:
        return None
    path = expanded(name)
    if not path.exists():
        raise FileNotFoundError(
            f'{path} does not exist; give the path of a checkpoint'
        )
    return path


def cache_folder() -> Path:
    """Get the folder of cached files.

    It is ``$OVSEG_CACHE``, if this variable is set. Otherwise, it is the
    folder ``ovseg_mm`` in ``$XDG_CACHE_HOME``, whose default is ``~/.cache``.

    Returns:
        Path: Path of the folder. The function does not create the folder.

    Raises:
        InputError: If a variable begins with an unknown ``~user``.
    """
    folder = os.environ.get('OVSEG_CACHE')
    if folder:
        return expanded(folder)
    base = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    return expanded(base) / 'ovseg_mm'


def check_destination(path: str | Path) -> None:
    """Raise if a file cannot be written, or must not be replaced.

    :func:`atomic_write` needs this check, because it renames a finished file.
    Renaming would replace even a device, a pipe or a read-only file.

    Args:
        path (str | Path): File to write. The target of a link is checked.

    Raises:
        OSError: If the path is not a writable regular file, or its folder
            does not exist or is read-only.
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
            'give another name'
        )
    # The root user could write such a file, but probably by mistake.
    if mode is not None and not mode & 0o222:
        raise PermissionError(
            f'{path} cannot be written: the file is read-only; give another '
            'name or allow writing with chmod'
        )
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f'{path} cannot be written: the folder {folder} does not exist; '
            'create it first'
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(
            f'{path} cannot be written: the folder {folder} is read-only; '
            'give a path in another folder'
        )


def path_inside(folder: str | Path, name: str) -> Path:
    """Join a folder and a relative path, and check that the result is inside.

    Args:
        folder (str | Path): The folder.
        name (str): Path of a file, relative to ``folder``.

    Returns:
        Path: Path of the file.

    Raises:
        InputError: If ``name`` is empty or absolute, or contains ``..``.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or '..' in parts:
        raise InputError(
            f'the name {name!r} leads out of the folder {folder}; expected a '
            'relative path without ".."'
        )
    return Path(folder, name)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Write a file so that it appears at ``path`` only when it is complete.

    The code in the ``with`` block writes to a temporary file in the same
    folder. At the end of the block, the temporary file is renamed to ``path``.
    After an error, the temporary file is removed.

    >>> with atomic_write(path) as file:
    ...     file.write(content)

    Args:
        path (str | Path): File to write or replace.

    Yields:
        BinaryIO: The open temporary file.

    Raises:
        OSError: If the file cannot be written, or :func:`check_destination`
            raises an error. The message names the file and the reason.
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
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__context__
        if cause is None:
            raise
        reason = cause.strerror or cause
        raise OSError(f'{path} cannot be written: {reason}') from cause
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def file_sha256(path: str | Path) -> str:
    """Compute the SHA-256 of a file.

    Args:
        path (str | Path): The file.

    Returns:
        str: The hash, 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file with :func:`atomic_write`."""
    with atomic_write(path) as file:
        file.write(text.encode('utf-8'))


def to_disk(file: BinaryIO) -> None:
    """Wait until the content of an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def remove_leftovers(folder: Path, name: str = '*') -> None:
    """Remove temporary files that killed processes have left.

    Args:
        folder (Path): Folder in which :func:`atomic_write` was used. No other
            process may write to it at the same time.
        name (str): Final name of the file that was being written. By default,
            temporary files for all final names are removed.
    """
    known = '*' if name == '*' else glob.escape(name[:_SHOWN_NAME])
    for leftover in folder.glob(_TEMPORARY.format(name=known, token='*')):
        leftover.unlink(missing_ok=True)


def _open_temporary(path: Path) -> tuple[Path, BinaryIO]:
    """Create a temporary file next to ``path`` and open it for writing."""
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
