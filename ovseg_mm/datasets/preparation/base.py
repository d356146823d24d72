# SPDX-License-Identifier: Apache-2.0
"""What the preparation of any data set consists of."""

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
    """Making the files of one image, in any process.

    Attributes:
        function (Callable): Called with ``args``; makes the outputs, each of
            them whole or not at all.
        args (tuple): What it takes.
        outputs (tuple[Path, ...]): Files; the task is done if they are all
            there.
    """

    function: Callable[..., None]
    args: tuple
    outputs: tuple[Path, ...]


@dataclass(frozen=True)
class LabelCheck:
    """What is known of a folder of finished label files.

    Attributes:
        folder (Path): Where they are.
        suffix (str): What their names end in.
        counts (tuple[int, ...]): How many there may be; empty: any number.
        values (int): How many labels; the files hold 0 to ``values`` - 1.
        ignored (int, optional): The other value that may occur, if any.
        bits (int): 8 or 16.
        images (Path): Folder of their images.
        image_suffix (str): What the names of these end in.
        present (int, optional): How many of the labels occur in all files
            together.
        names (tuple[str, ...], optional): Of the files, without suffix; by
            default all in the folder.
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
    """How the files of one data set are made and checked.

    Attributes:
        title (str): Name of the data set.
        root (str): Where MMSegmentation's layout has it.
        download (str): Where its files come from.
        ready_made (bool): Whether the download has all files as they are
            needed, so that they can only be verified.
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
        """List what is to be made, done or not.

        Raises:
            FileNotFoundError: If a file of the download is missing.
            InputError: If one is damaged.
        """

    @abstractmethod
    def checks(
        self, root: Path, options: argparse.Namespace
    ) -> list[LabelCheck]:
        """List what is known of the finished files."""

    def finish(  # noqa: B027
        self, root: Path, options: argparse.Namespace
    ) -> None:
        """Do what needs the outputs of all tasks."""

    def missing(self, path: Path, what: str) -> FileNotFoundError:
        """Say which file of the download is not there."""
        return FileNotFoundError(
            f'{self.title}: {what} {path} is missing; get it from '
            f'{self.download}, or name another folder'
        )


def raw_values(vocabulary: str) -> list[int]:
    """Read which value stands for each label in a data set's own files.

    Args:
        vocabulary (str): ``'ade847'`` or ``'pc59'``.
    """
    lines = resource('data', 'raw_label_values.tsv').read_text().splitlines()
    table = dict(line.split('\t') for line in lines)
    return [int(value) for value in table[vocabulary].split()]


@cache
def shipped_vocabulary(key: str) -> Vocabulary:
    """Read a shipped vocabulary, once a process: tasks ask for each image."""
    return load_vocabulary(key)


def label_table(
    mapping: dict[int, int], default: int, dtype: Any
) -> np.ndarray:
    """Turn a mapping of raw values in [0, 65535] into a look-up table."""
    table = np.full(65536, default, dtype=dtype)
    table[list(mapping)] = list(mapping.values())
    return table


def read_8_bit_labels(path: Path) -> np.ndarray:
    """Read a label file that must have 8 bits.

    Raises:
        InputError: If it has more, is damaged or is no label map.
    """
    labels = read_label_map(str(path))
    if labels.dtype != np.uint8:
        raise InputError(
            f'the label file {path} has 16 bits or more; expected 8'
        )
    return labels


def read_list(path: Path) -> list[str]:
    """Read the names in a list of samples.

    Raises:
        InputError: If a name leads out of the folders of the data set, where
            files would be written.
    """
    names = read_names(str(path))
    for name in names:
        try:
            path_inside(path.parent, name)
        except InputError as error:
            raise InputError(f'{path}: {error}') from None
    return names


def write_list(path: Path, names: list[str]) -> None:
    """Write a list of samples that is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, ''.join(f'{name}\n' for name in names))
