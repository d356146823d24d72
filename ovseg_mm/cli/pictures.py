# SPDX-License-Identifier: Apache-2.0
"""Images among the arguments of a command line."""

import glob
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import expanded
from ovseg_mm.utils.picture_files import PICTURE_SUFFIXES, VIDEO_SUFFIXES


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


def check_outputs(images: list[Path], outputs: Iterable[Path]) -> None:
    """Check that no image would be overwritten.

    Args:
        images (list[Path]): Images to read.
        outputs (Iterable[Path]): Files to write.

    Raises:
        InputError: If an output is one of the images.
    """
    # Files of a folder are many, so its links are followed once.
    real_folder = lru_cache(os.path.realpath)

    def real(path: Path) -> str:
        if path.is_symlink():
            return os.path.realpath(path)
        return os.path.join(real_folder(path.parent), path.name)

    inputs = {real(path): path for path in images}
    for output in outputs:
        if (path := inputs.get(real(output))) is not None:
            raise InputError(
                f'the results would overwrite the image {path}; name '
                'another folder with --out'
            )


def _looks_like_image(word: str, alone: bool) -> bool:
    if Path(word).suffix.lower() in (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES):
        return True
    return alone and (glob.has_magic(word) or expanded(word).is_dir())
