# SPDX-License-Identifier: Apache-2.0
"""Cache of text embeddings on disk, with one file per vocabulary."""

import os
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import atomic_write, cache_folder

# Size limit in megabytes if OVSEG_CACHE_SIZE is not set.
DEFAULT_SIZE = 1024
# Limit of the number of files.
MAX_FILES = 4096
# Names of the files of this cache only: a SHA-256, finished or unfinished.
_OWN = re.compile(r'[0-9a-f]{64}\.safetensors')
_UNFINISHED = re.compile(r'\.[0-9a-f]{20}.*\.tmp')
_DAY = 24 * 60 * 60


def cache_size() -> int:
    """Read the maximum cache size from ``$OVSEG_CACHE_SIZE`` (megabytes).

    Returns:
        int: Size, converted to bytes; 0 to keep no files.

    Raises:
        InputError: If the variable is not a number of megabytes, 0 or more.
    """
    size = os.environ.get('OVSEG_CACHE_SIZE', '').strip() or DEFAULT_SIZE
    try:
        megabytes = float(size)
        if not 0 <= megabytes < float('inf'):
            raise ValueError
    except ValueError:
        raise InputError(
            f'OVSEG_CACHE_SIZE={size!r} is not a number of megabytes; set '
            'a number, or 0 to keep no text embeddings on disk'
        ) from None
    return int(megabytes * 1e6)


def read_cache(digest: str) -> tuple[Tensor, str] | None:
    """Read text embeddings from the cache.

    Args:
        digest (str): SHA-256 of the weights and prompts.

    Returns:
        tuple[Tensor, str] | None: Embeddings, and the warning about prompts
        that were truncated, ``''`` if there is no warning. None if the cache
        has no readable file for the digest.

    Raises:
        InputError: If ``$OVSEG_CACHE_SIZE`` is not a number.
    """
    if not cache_size():
        return None
    path = _path(digest)
    try:
        with safe_open(path, 'pt') as file:
            text = file.get_tensor('text')
            message = (file.metadata() or {}).get('message', '')
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (SafetensorError, OSError) as error:
        warnings.warn(
            f'{path} is not a readable cache of text embeddings ({error}); '
            'the embeddings are computed again',
            stacklevel=2,
        )
        return None
    try:
        os.utime(path)  # marks the file as recently used
    except OSError:
        pass
    return text, message


def write_cache(digest: str, text: Tensor, message: str) -> None:
    """Write text embeddings to the cache.

    If a file cannot be written, a warning is shown. If the cache becomes too
    large, the least recently used files are removed. Several processes may use
    the cache at the same time.

    Args:
        digest (str): SHA-256 of the weights and prompts.
        text (Tensor): Text embeddings.
        message (str): Warning about prompts that were truncated, ``''`` if
            there is no warning. It is shown again when the file is read.

    Raises:
        InputError: If ``$OVSEG_CACHE_SIZE`` is not a number.
    """
    limit = cache_size()
    if text.nbytes > limit:
        return
    path = _path(digest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {'text': text.cpu().contiguous()}
        with atomic_write(path) as file:
            file.write(save(tensors, {'message': message}))
        _make_room(path.parent, limit)
    except (SafetensorError, OSError) as error:
        warnings.warn(
            f'text embeddings cannot be saved in {path.parent} ({error}) and '
            'will be computed again in the next run; set OVSEG_CACHE to a '
            'folder that can be written',
            stacklevel=2,
        )


def _path(digest: str) -> Path:
    return cache_folder() / 'text' / f'{digest}.safetensors'


def _make_room(folder: Path, limit: int) -> None:
    """Remove the least recently used files until the cache is small enough."""
    kept = total = 0
    for _, size, path in sorted(_own_files(folder), reverse=True):
        kept, total = kept + 1, total + size
        if kept > MAX_FILES or total > limit:
            _remove(path)


def _own_files(folder: Path) -> Iterator[tuple[float, int, str]]:
    """Time of last use, size and path of each file of this cache."""
    now = time.time()
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # another process has removed it
                continue
            if not S_ISREG(status.st_mode):
                continue
            if _OWN.fullmatch(entry.name):
                yield status.st_mtime, status.st_size, entry.path
            elif (
                _UNFINISHED.fullmatch(entry.name)
                and now - status.st_mtime > _DAY
            ):
                _remove(entry.path)  # left by a killed process


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        # Already removed, or open in another process on Windows.
        pass
