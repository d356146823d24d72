# SPDX-License-Identifier: Apache-2.0
"""Where files are: the package's own, the user's cache, unfinished ones."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Name of a file while it is written; a killed process may leave one.
TEMPORARY = '.{name}.{process}.tmp'
_PACKAGE = Path(__file__).resolve().parent


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
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    file = path if path.suffix == '.py' else Path(f'{path}.py')
    root = resource('configs')
    for config in sorted(root.rglob('*.py')):
        parts = config.relative_to(root.parent).parts
        if '_base_' not in parts and parts[-len(file.parts) :] == file.parts:
            return config
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
    path = Path(name).expanduser()
    shipped = resource(path)
    return shipped if not path.exists() and shipped.exists() else path


def cache_folder() -> Path:
    """Folder for what can be computed again: ``$OVSEG_CACHE`` if set."""
    folder = os.environ.get('OVSEG_CACHE')
    if folder:
        return Path(folder).expanduser()
    base = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    return Path(base).expanduser() / 'ovseg_mm'


def temporary_beside(path: Path) -> Path:
    """Where this process writes a file before it takes its name."""
    return path.with_name(
        TEMPORARY.format(name=path.name, process=os.getpid())
    )


@contextmanager
def written_whole(path: Path, temporary: Path | None = None) -> Iterator[Path]:
    """Where to write a file that is whole or not there.

    >>> with written_whole(path) as temporary:
    ...     temporary.write_bytes(content)

    Args:
        path (Path): The file; it is there or replaced when the block ends.
        temporary (Path, optional): Where it is written first. None: the one
            of :func:`temporary_beside`.

    Raises:
        OSError: If it cannot be written; the message names the file and the
            reason.
    """
    temporary = temporary or temporary_beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch.save hides a full disk behind a RuntimeError of its own.
        while error is not None and not isinstance(error, OSError):
            error = error.__context__
        if error is None:
            raise
        reason = error.strerror or error
        raise OSError(f'{path} cannot be written: {reason}') from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, that is whole or not there."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding='utf-8')
