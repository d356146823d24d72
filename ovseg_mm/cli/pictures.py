# SPDX-License-Identifier: Apache-2.0
"""Which pictures a command line means, and what their results are called."""

import difflib
import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import IMAGE_SUFFIXES
from ovseg_mm.utils.paths import expanded

_ADDRESS = re.compile(r'[a-z][a-z0-9+.-]+:/', re.IGNORECASE)
_SHOWN = 3


def find_images(names: Iterable[str | Path]) -> list[Path]:
    """Files of pictures; folders and patterns become the pictures in them.

    Args:
        names (Iterable[str | Path]): Files, folders, patterns such as
            ``'street/*.jpg'``.

    Returns:
        list[Path]: Each file once; those of a folder or pattern by name.

    Raises:
        FileNotFoundError: If there is no such file, or no picture in a
            folder or of a pattern.
        InputError: If a name is an address, or not that of a file.
    """
    images = {}
    for name in names:
        for path in _images_of(str(name)):
            images.setdefault(os.path.abspath(path), path)
    return list(images.values())


def split_images(words: list[str], alone: bool) -> tuple[list[str], list[str]]:
    """Part the pictures from the words of ``--classes`` before them.

    ``--classes`` takes all arguments that follow it, pictures as well.

    Args:
        words (list[str]): What ``--classes`` took.
        alone (bool): Whether there are no other pictures, so that a folder
            at the end is one of pictures.

    Returns:
        tuple[list[str], list[str]]: The words, and the pictures.
    """
    first = len(words)
    while first > 0 and _looks_like_pictures(words[first - 1], alone):
        first -= 1
    return words[:first], words[first:]


def output_names(images: list[Path]) -> list[str]:
    """Stem of each picture; with a number where two agree."""
    names: dict[str, None] = {}
    for path in images:
        name, number = path.stem, 2
        while name in names:
            name, number = f'{path.stem}-{number}', number + 1
        names[name] = None
    return list(names)


def check_outputs(images: list[Path], outputs: Iterable[Path]) -> None:
    """Make sure that no picture is overwritten.

    Raises:
        InputError: If an output is one of the pictures.
    """
    inputs = {os.path.realpath(path): path for path in images}
    for output in outputs:
        if (path := inputs.get(os.path.realpath(output))) is not None:
            raise InputError(
                f'the results would overwrite the picture {path}; name '
                'another folder with --out'
            )


def _images_of(name: str) -> list[Path]:
    if _ADDRESS.match(name):
        raise InputError(
            f'{name} is an address, not a file; download the picture first '
            'and give the path of its file'
        )
    path = expanded(name)
    if path.is_dir():
        return _images_in(path)
    if path.is_file():
        return [path]
    if path.is_symlink():
        raise FileNotFoundError(
            f'{path} is a link to {os.readlink(path)}, which does not exist'
        )
    if path.exists():
        raise InputError(f'{path} is not a file or folder of pictures')
    if glob.has_magic(name):
        found = map(Path, glob.glob(str(path), recursive=True))
        found = sorted(file for file in found if _is_image(file))
        if not found:
            raise FileNotFoundError(
                f'no picture ({", ".join(IMAGE_SUFFIXES)}) has a name like '
                f'{name}'
            )
        return found
    near = []
    if path.parent.is_dir():
        near = difflib.get_close_matches(path.name, os.listdir(path.parent))
    raise FileNotFoundError(
        f'{path}: there is no such image file'
        + (f'; did you mean {" or ".join(near)}?' if near else '')
    )


def _images_in(folder: Path) -> list[Path]:
    """Pictures directly in a folder, broken links to some included."""
    entries = sorted(folder.iterdir())
    images = [path for path in entries if _is_image(path)]
    if images:
        return images
    deeper = [str(path) for path in entries if path.is_dir()]
    raise FileNotFoundError(
        f'the folder {folder} has no picture in it '
        f'({", ".join(IMAGE_SUFFIXES)})'
        + (
            f'; folders in it are not searched ({", ".join(deeper[:_SHOWN])}'
            f'{", ..." if deeper[_SHOWN:] else ""}): give these, or the '
            f"pattern '{folder}/**/*'"
            if deeper
            else ''
        )
    )


def _is_image(path: Path) -> bool:
    return (
        path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith('.')
        and (path.is_file() or (path.is_symlink() and not path.exists()))
    )


def _looks_like_pictures(word: str, alone: bool) -> bool:
    if Path(word).suffix.lower() in IMAGE_SUFFIXES:
        return True
    return alone and (glob.has_magic(word) or expanded(word).is_dir())
