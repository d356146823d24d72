# SPDX-License-Identifier: Apache-2.0
"""Base class of preparations, their tasks and checks, and helpers."""

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
    """Makes the files of one image, in any process.

    Attributes:
        function (Callable): Called with ``args``; writes each of the outputs
            completely or not at all.
        args (tuple): Arguments of ``function``.
        outputs (tuple[Path, ...]): Files; the task is done if all exist.
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
        counts (tuple[int, ...]): Valid numbers of files; empty: any number.
        values (int): Number of labels; valid values are 0 to ``values`` - 1.
        ignored (int, optional): Value of ignored pixels, if there is one.
        bits (int): Bits per pixel, 8 or 16.
        images (Path): Folder of the images.
        image_suffix (str): Suffix of the images.
        present (int, optional): Number of labels that occur in all files
            together.
        names (tuple[str, ...], optional): Names of the files without suffix.
            None: all files of the folder.
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
    """Makes and checks the files of one data set.

    Attributes:
        title (str): Name of the data set.
        root (str): Folder of the data set in MMSegmentation's layout.
        download (str): Address of the download.
        ready_made (bool): Whether the downloaded files need no preparation and
            can only be verified.
    """

    title: ClassVar[str]
    root: ClassVar[str]
    download: ClassVar[str]
    ready_made: ClassVar[bool] = False

    def add_options(  # noqa: B027
        self, parser: argparse.ArgumentParser
    ) -> None:
        """Add options of this data set to its command."""

    def folder(self, options: argparse.Namespace) -> Path:
        """Return the folder of the data set."""
        return expanded(options.root or self.root)

    @abstractmethod
    def tasks(self, root: Path, options: argparse.Namespace) -> list[Task]:
        """List all tasks, finished or not.

        Args:
            root (Path): Folder of the data set.
            options (Namespace): Command line.

        Returns:
            list[Task]: The tasks.

        Raises:
            FileNotFoundError: If a file of the download is missing.
            InputError: If a file of the download is damaged.
        """

    @abstractmethod
    def checks(
        self, root: Path, options: argparse.Namespace
    ) -> list[LabelCheck]:
        """List the checks of the finished files."""

    def finish(  # noqa: B027
        self, root: Path, options: argparse.Namespace
    ) -> None:
        """Make the files that need the outputs of all tasks."""

    def missing(self, path: Path, what: str) -> FileNotFoundError:
        """Make the error for a file that is missing in the download."""
        return FileNotFoundError(
            f'{self.title}: {what} {path} is missing; get it from '
            f'{self.download}, or name another folder'
        )


def raw_values(vocabulary: str) -> list[int]:
    """Read the value of each label in the data set's own files.

    Args:
        vocabulary (str): ``'ade847'`` or ``'pc59'``.

    Returns:
        list[int]: Values in label order.
    """
    lines = resource('data', 'raw_label_values.tsv').read_text().splitlines()
    table = dict(line.split('\t') for line in lines)
    return [int(value) for value in table[vocabulary].split()]


@cache
def shipped_vocabulary(key: str) -> Vocabulary:
    """Load a shipped vocabulary, once per process."""
    return load_vocabulary(key)


def label_table(
    mapping: dict[int, int], default: int, dtype: Any
) -> np.ndarray:
    """Look-up table (65536,) of a mapping of raw values to labels."""
    table = np.full(65536, default, dtype=dtype)
    table[list(mapping)] = list(mapping.values())
    return table


def read_8_bit_labels(path: Path) -> np.ndarray:
    """Read a label file of 8 bits.

    Args:
        path (Path): The file.

    Returns:
        np.ndarray: (H, W) uint8.

    Raises:
        InputError: If it has more bits, is damaged or is not a label map.
    """
    labels = read_label_map(str(path))
    if labels.dtype != np.uint8:
        raise InputError(
            f'the label file {path} has 16 bits or more; expected 8'
        )
    return labels


def read_list(path: Path) -> list[str]:
    """Read a list of samples.

    Args:
        path (Path): Text file, see
            :func:`~ovseg_mm.datasets.file_index.read_names`.

    Returns:
        list[str]: The names.

    Raises:
        InputError: If a name leads out of the folders of the data set.
    """
    names = read_names(str(path))
    for name in names:
        try:
            path_inside(path.parent, name)
        except InputError as error:
            raise InputError(f'{path}: {error}') from None
    return names


def write_list(path: Path, names: list[str]) -> None:
    """Write a list of samples, completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, ''.join(f'{name}\n' for name in names))
