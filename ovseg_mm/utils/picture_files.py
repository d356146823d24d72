# SPDX-License-Identifier: Apache-2.0
"""Functions that find image files and name their result files."""

import difflib
import glob
import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .errors import InputError
from .paths import expanded

# Suffixes of the images of data sets, in lower case.
IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
# Suffixes of the files to find in a folder, in lower case. A file whose path
# the user gives may have any suffix.
PICTURE_SUFFIXES = (
    *IMAGE_SUFFIXES,
    *('.avif', '.gif', '.heic', '.jfif', '.jp2', '.pgm', '.ppm', '.tga'),
)
VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')

_ADDRESS = re.compile(r'[a-z][a-z0-9+.-]+:/', re.IGNORECASE)


class Job(NamedTuple):
    """An image file to segment, and the name of its results.

    Attributes:
        path (Path): Path of the image file.
        name (str): Beginning of the names of all result files. It is the name
            of the image file without suffix. If the image was found in a
            folder, it is the path relative to the folder, without suffix.
    """

    path: Path
    name: str


def find_images(names: Iterable[str | Path]) -> list[Path]:
    """Find image files by paths of files, paths of folders or patterns.

    Args:
        names (Iterable[str | Path]): Files, folders or patterns such as
            ``'street/*.jpg'``. Folders are searched with their sub-folders.

    Returns:
        list[Path]: Paths of the images, without duplicates, in the order of
        ``names``. Images of one folder or pattern are sorted by path.

    Raises:
        FileNotFoundError: If a file does not exist, or a folder or pattern
            has no image.
        InputError: If a name is a URL or a device.
    """
    return [job.path for job in find_jobs(names)]


def find_jobs(
    names: Iterable[str | Path], out: Path | None = None
) -> list[Job]:
    """Find image files, and choose the names of their results.

    Args:
        names (Iterable[str | Path]): See :func:`find_images`.
        out (Path, optional): Folder of results, which is not searched for
            images.

    Returns:
        list[Job]: One job per file, without duplicate files. If several jobs
        would have the same name, a number is appended to all of these names
        except the first.

    Raises:
        FileNotFoundError: See :func:`find_images`.
        InputError: See :func:`find_images`.
    """
    found: dict[str, Job] = {}
    for name in names:
        for job in _jobs_of(str(name), out):
            found.setdefault(os.path.abspath(job.path), job)
    taken: set[str] = set()
    jobs = []
    for job in found.values():
        name, number = job.name, 2
        while name in taken:
            name, number = f'{job.name}-{number}', number + 1
        taken.add(name)
        jobs.append(Job(job.path, name))
    return jobs


def _jobs_of(name: str, out: Path | None) -> list[Job]:
    if _ADDRESS.match(name):
        raise InputError(
            f'{name} is a URL, not a file; download the image and give the '
            'path of the file'
        )
    path = expanded(name)
    if path.is_dir():
        return _jobs_in(path, out)
    if path.is_file():
        return [Job(path, path.stem)]
    if path.is_symlink():
        raise FileNotFoundError(
            f'{path} is a link to {os.readlink(path)}, which does not exist; '
            'correct the link'
        )
    if path.exists():
        raise InputError(
            f'{path} is neither a file nor a folder; give the path of an '
            'image or a folder of images'
        )
    if glob.has_magic(name):
        files = map(Path, glob.glob(str(path), recursive=True))
        found = sorted(file for file in files if _is_image(file))
        if not found:
            raise FileNotFoundError(
                f'no image matches the pattern {name}; expected a file with '
                f'one of the suffixes {", ".join(PICTURE_SUFFIXES)}'
            )
        fixed = itertools.takewhile(
            lambda part: not glob.has_magic(part), path.parts
        )
        return _below(Path(*fixed), found)
    near = []
    if path.parent.is_dir():
        near = difflib.get_close_matches(path.name, os.listdir(path.parent))
    raise FileNotFoundError(
        f'{path}: there is no such image file'
        + (f'; did you mean {" or ".join(near)}?' if near else '')
    )


def _jobs_in(folder: Path, out: Path | None) -> list[Job]:
    """Make one job for each image in a folder and its sub-folders."""
    left_out = set() if out is None else {os.path.realpath(out)}
    visited = {os.path.realpath(folder)}
    images = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        images += [
            file
            for file in map(Path(parent).joinpath, files)
            if _is_image(file)
        ]
        deeper = []
        for name in folders:
            real = os.path.realpath(os.path.join(parent, name))
            if name[0] != '.' and real not in visited and real not in left_out:
                visited.add(real)
                deeper.append(name)
        folders[:] = deeper
    if not images:
        raise FileNotFoundError(
            f'the folder {folder} and its sub-folders have no image; expected '
            f'a file with one of the suffixes {", ".join(PICTURE_SUFFIXES)}'
        )
    return _below(folder, sorted(images))


def _below(folder: Path, files: list[Path]) -> list[Job]:
    """Make one job per file.

    The name of a job is the path of its file relative to ``folder``, without
    suffix.
    """
    return [
        Job(file, file.relative_to(folder).with_suffix('').as_posix())
        for file in files
    ]


def _is_image(path: Path) -> bool:
    return (
        path.suffix.lower() in PICTURE_SUFFIXES
        and not path.name.startswith('.')
        and (path.is_file() or (path.is_symlink() and not path.exists()))
    )
