# SPDX-License-Identifier: Apache-2.0
"""Image files of folders and patterns, and names of their results."""

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
# Suffixes of the files to find in a folder, in lower case. Files given by name
# may have others.
PICTURE_SUFFIXES = (
    *IMAGE_SUFFIXES,
    *('.avif', '.gif', '.heic', '.jfif', '.jp2', '.pgm', '.ppm', '.tga'),
)
VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')

_ADDRESS = re.compile(r'[a-z][a-z0-9+.-]+:/', re.IGNORECASE)


class Job(NamedTuple):
    """File to segment.

    Attributes:
        path (Path): The file.
        name (str): Start of the names of its results, without suffix; files
            of a folder keep their sub-folders.
    """

    path: Path
    name: str


def find_images(names: Iterable[str | Path]) -> list[Path]:
    """List image files, with folders and patterns expanded.

    Args:
        names (Iterable[str | Path]): Files; folders, which are searched with
            their sub-folders; patterns such as ``'street/*.jpg'``.

    Returns:
        list[Path]: Each file once; files of a folder or pattern are sorted
        by name.

    Raises:
        FileNotFoundError: If a file does not exist, or a folder or pattern
            has no image.
        InputError: If a name is an address or a device.
    """
    return [job.path for job in find_jobs(names)]


def find_jobs(
    names: Iterable[str | Path], out: Path | None = None
) -> list[Job]:
    """List image files and the names of their results.

    Args:
        names (Iterable[str | Path]): See :func:`find_images`.
        out (Path, optional): Folder of results, which is not searched.

    Returns:
        list[Job]: Each file once. Where names of results are equal, all but
        the first have a number at the end.

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
            f'{name} is an address, not a file; download the image first '
            'and give the path of its file'
        )
    path = expanded(name)
    if path.is_dir():
        return _jobs_in(path, out)
    if path.is_file():
        return [Job(path, path.stem)]
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
                f'no image ({", ".join(PICTURE_SUFFIXES)}) matches {name}'
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
    """Images in a folder and below, with broken links to images."""
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
            f'the folder {folder} has no image in it or below '
            f'({", ".join(PICTURE_SUFFIXES)})'
        )
    return _below(folder, sorted(images))


def _below(folder: Path, files: list[Path]) -> list[Job]:
    """Jobs whose names are paths relative to a folder."""
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
