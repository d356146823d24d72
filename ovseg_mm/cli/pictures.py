# SPDX-License-Identifier: Apache-2.0
"""Images of a command line and names of their results."""

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
    """List image files, with folders and patterns expanded.

    Args:
        names (Iterable[str | Path]): Files, folders, patterns such as
            ``'street/*.jpg'``.

    Returns:
        list[Path]: Each file once; files of a folder or pattern are sorted
        by name.

    Raises:
        FileNotFoundError: If a file does not exist, or a folder or pattern
            has no image.
        InputError: If a name is an address or a device.
    """
    images: dict[str, Path] = {}
    for name in names:
        for path in _images_of(str(name)):
            images.setdefault(os.path.abspath(path), path)
    return list(images.values())


def split_images(words: list[str], alone: bool) -> tuple[list[str], list[str]]:
    """Separate the classes of ``--classes`` from images that follow them.

    ``--classes`` takes all arguments that follow it, images too.

    Args:
        words (list[str]): Arguments that ``--classes`` took.
        alone (bool): Whether no other image is given, so that a folder at the
            end is a folder of images.

    Returns:
        tuple[list[str], list[str]]: Classes and images.
    """
    first = len(words)
    while first > 0 and _looks_like_image(words[first - 1], alone):
        first -= 1
    return words[:first], words[first:]


def output_names(images: list[Path]) -> list[str]:
    """Stem of each image, with a number where stems are equal."""
    names: dict[str, None] = {}
    for path in images:
        name, number = path.stem, 2
        while name in names:
            name, number = f'{path.stem}-{number}', number + 1
        names[name] = None
    return list(names)


def check_outputs(images: list[Path], outputs: Iterable[Path]) -> None:
    """Check that no image would be overwritten.

    Args:
        images (list[Path]): Images to read.
        outputs (Iterable[Path]): Files to write.

    Raises:
        InputError: If an output is one of the images.
    """
    inputs = {os.path.realpath(path): path for path in images}
    for output in outputs:
        if (path := inputs.get(os.path.realpath(output))) is not None:
            raise InputError(
                f'the results would overwrite the image {path}; name '
                'another folder with --out'
            )


def _images_of(name: str) -> list[Path]:
    if _ADDRESS.match(name):
        raise InputError(
            f'{name} is an address, not a file; download the image first '
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
        raise InputError(f'{path} is neither a file nor a folder of images')
    if glob.has_magic(name):
        files = map(Path, glob.glob(str(path), recursive=True))
        found = sorted(file for file in files if _is_image(file))
        if not found:
            raise FileNotFoundError(
                f'no image ({", ".join(IMAGE_SUFFIXES)}) matches {name}'
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
    """Images directly in a folder, with broken links to images."""
    entries = sorted(folder.iterdir())
    images = [path for path in entries if _is_image(path)]
    if images:
        return images
    deeper = [str(path) for path in entries if path.is_dir()]
    raise FileNotFoundError(
        f'the folder {folder} has no image in it '
        f'({", ".join(IMAGE_SUFFIXES)})'
        + (
            f'; its sub-folders are not searched ({", ".join(deeper[:_SHOWN])}'
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


def _looks_like_image(word: str, alone: bool) -> bool:
    if Path(word).suffix.lower() in IMAGE_SUFFIXES:
        return True
    return alone and (glob.has_magic(word) or expanded(word).is_dir())
