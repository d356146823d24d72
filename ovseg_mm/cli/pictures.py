# SPDX-License-Identifier: Apache-2.0
"""Find images among the arguments of a command line."""

import glob
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import expanded
from ovseg_mm.utils.picture_files import PICTURE_SUFFIXES, VIDEO_SUFFIXES


def split_images(words: list[str], alone: bool) -> tuple[list[str], list[str]]:
    """Separate class texts from the images that follow them.

    ``--classes`` takes all arguments after it, so these may include images.

    Args:
        words (list[str]): Arguments that ``--classes`` has taken.
        alone (bool): Whether the command line has no images before
            ``--classes``. If so, folders and patterns at the end of ``words``
            count as images too.

    Returns:
        tuple[list[str], list[str]]: Class texts, and images.
    """
    first = len(words)
    while first > 0 and _looks_like_image(words[first - 1], alone):
        first -= 1
    return words[:first], words[first:]


def check_outputs(images: list[Path], outputs: Iterable[Path]) -> None:
    """Check that the results do not overwrite an image.

    Args:
        images (list[Path]): Images to read.
        outputs (Iterable[Path]): Files to write.

    Raises:
        InputError: If an output is one of the images.
    """
    # Resolving links is slow, so each folder is resolved only once.
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
