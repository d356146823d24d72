# SPDX-License-Identifier: Apache-2.0
"""Base class of the preparations of data sets, and helpers."""

import argparse
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import read_label_map
from ovseg_mm.utils.paths import expanded, path_inside, resource, write_text
from ovseg_mm.vocabulary import Vocabulary, load_vocabulary

from ..file_index import read_names


@dataclass(frozen=True)
class Task:
    """Task that writes files, such as the label file of one image.

    Tasks do not depend on each other, so that several processes can run them
    in parallel.

    Attributes:
        function (Callable): Function that writes the files. It never leaves
            an incomplete file.
        args (tuple): Arguments of the function.
        outputs (tuple[Path, ...]): Files to write. The task is finished if
            all of them exist.
    """

    function: Callable[..., None]
    args: tuple
    outputs: tuple[Path, ...]


@dataclass(frozen=True)
class LabelCheck:
    """Expected contents of a folder of finished label files.

    Attributes:
        folder (Path): Folder of the label files.
        suffix (str): Suffix of the label files.
        counts (tuple[int, ...]): Valid numbers of label files. Empty: any
            number is valid.
        values (int): Number of labels. Valid pixel values are 0 to ``values``
            - 1, and ``ignored``.
        ignored (int, optional): Pixel value of ignored pixels. None: no pixel
            may be ignored.
        bits (int): Bits per pixel, 8 or 16.
        images (Path): Folder of the images.
        image_suffix (str): Suffix of the images.
        present (int, optional): Number of different labels in all files
            together. None: not checked.
        names (tuple[str, ...], optional): Names of the label files without
            suffix. None: all files of the folder.
    """

    folder: Path
    suffix: str
    counts: tuple[int, ...]
    values: int
    ignored: int | None
    bits: int
    images: Path
    image_suffix: str = '.jpg'
    present: int | None = None
    names: tuple[str, ...] | None = None


class Preparation(ABC):
    """Base class of a preparation, which writes and checks label files.

    Attributes:
        title (str): Name of the data set.
        root (str): Default folder of the data set, as in MMSegmentation.
        download (str): Address from which to download the data set.
        ready_made (bool): Whether the downloaded files need no preparation
            and are only checked.
    """

    title: ClassVar[str]
    root: ClassVar[str]
    download: ClassVar[str]
    ready_made: ClassVar[bool] = False

    def add_options(  # noqa: B027
        self, parser: argparse.ArgumentParser
    ) -> None:
        """Add the options of this data set to the command line."""

    def folder(self, options: argparse.Namespace) -> Path:
        """Return the folder of the data set."""
        return expanded(options.root or self.root)

    @abstractmethod
    def tasks(self, root: Path, options: argparse.Namespace) -> list[Task]:
        """Return all tasks of the preparation, including finished tasks.

        Args:
            root (Path): Folder of the data set.
            options (Namespace): Options of the command line.

        Returns:
            list[Task]: Tasks in any order.

        Raises:
            FileNotFoundError: If a file of the download is missing.
            InputError: If a file of the download is damaged.
        """

    @abstractmethod
    def checks(
        self, root: Path, options: argparse.Namespace
    ) -> list[LabelCheck]:
        """Return the checks of the finished label files."""

    def finish(  # noqa: B027
        self, root: Path, options: argparse.Namespace
    ) -> None:
        """Write the files that can only be made after all tasks."""

    def missing(self, path: Path, what: str) -> FileNotFoundError:
        """Return the error for a missing file or folder of the download."""
        return FileNotFoundError(
            f'{self.title}: {what} {path} is missing; download it from '
            f'{self.download}, or give the folder of the data set as argument'
        )


def raw_values(vocabulary: str) -> list[int]:
    """Return the pixel value of each label in the downloaded label files.

    Args:
        vocabulary (str): Vocabulary of the data set, ``'ade847'`` or
            ``'pc59'``.

    Returns:
        list[int]: Pixel values in the order of the labels.
    """
    lines = resource('data', 'raw_label_values.tsv').read_text().splitlines()
    table = dict(line.split('\t') for line in lines)
    return [int(value) for value in table[vocabulary].split()]


@cache
def shipped_vocabulary(key: str) -> Vocabulary:
    """Return a vocabulary of this package; its file is read only once."""
    return load_vocabulary(key)


def label_table(
    mapping: dict[int, int], default: int, dtype: Any
) -> np.ndarray:
    """Return an array that converts pixel values of a file to labels.

    Args:
        mapping (dict[int, int]): Label of each pixel value.
        default (int): Label of pixel values that are not in ``mapping``.
        dtype (Any): Dtype of the array.

    Returns:
        np.ndarray: Labels, (65536,). The index is the pixel value.
    """
    table = np.full(65536, default, dtype=dtype)
    table[list(mapping)] = list(mapping.values())
    return table


def read_8_bit_labels(path: Path) -> np.ndarray:
    """Read a label file with 8 bits per pixel.

    Args:
        path (Path): Label file.

    Returns:
        np.ndarray: Value of each pixel, (H, W) uint8.

    Raises:
        InputError: If the file has more bits per pixel, is damaged or is not
            a label map.
    """
    labels = read_label_map(str(path))
    if labels.dtype != np.uint8:
        raise InputError(
            f'the label file {path} has 16 bits per pixel or more, expected '
            '8; download the data set again'
        )
    return labels


def read_list(path: Path) -> list[str]:
    """Read the names of samples from a text file.

    Args:
        path (Path): Text file with one name per line.

    Returns:
        list[str]: Names in the order of the file.

    Raises:
        InputError: If a name is an absolute path or contains ``..``.
    """
    names = read_names(str(path))
    for name in names:
        try:
            path_inside(path.parent, name)
        except InputError as error:
            raise InputError(f'{path}: {error}') from None
    return names


def write_list(path: Path, names: list[str]) -> None:
    """Write the names of samples to a text file, one per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, ''.join(f'{name}\n' for name in names))
