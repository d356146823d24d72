# SPDX-License-Identifier: Apache-2.0
"""Confusion counts of an evaluation, saved after each image."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.json_lines import append_lines, read_lines
from ovseg_mm.utils.paths import write_text

from .report import read_json

Pairs = tuple[np.ndarray, np.ndarray]
"""Confusion counts of one image with L labels: two arrays, (n,) int64.

There are n pairs of a true label t and a predicted label p in the image. The
first array contains ``t * (L + 1) + p`` of each pair, and the second array its
number of pixels. A pixel without a label has p = L.
"""


class EvaluationProgress:
    """Saved confusion counts of a data set, to continue an evaluation.

    Each process appends one line per image to a file of its own. A killed
    process loses only the image that it was working on. The evaluation can
    be continued with another number of processes.

    Args:
        folder (Path): Folder of the files; created if it does not exist.
        settings (dict[str, Any]): Settings that influence the counts; must be
            serialisable as JSON.

    Raises:
        InputError: If the folder has counts from other settings, or the
            settings in the folder cannot be read.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / 'settings.json'
        settings = json.loads(json.dumps(settings))
        if path.is_file():
            changed = changed_settings(path, settings)
            if changed:
                raise InputError(
                    f'{folder} holds results of another evaluation '
                    f'(different: {", ".join(changed)}); delete this folder, '
                    'or give another --work-dir'
                )
        else:
            write_text(path, json.dumps(settings, indent=1) + '\n')

    def read(self, stamps: Mapping[str, list]) -> dict[str, Pairs]:
        """Read the saved counts of all processes.

        Args:
            stamps (Mapping[str, list]): Sizes and modification times of the
                files of each image, by image name. If a file has changed
                since its counts were saved, these counts are left out.

        Returns:
            dict[str, Pairs]: Confusion counts by image name.
        """
        done = {}
        for path in sorted(self.folder.glob('images_*.jsonl')):
            for name, stamp, pairs, pixels in read_lines(path):
                if stamps.get(name) != stamp:
                    continue
                done[name] = (
                    np.array(pairs, dtype=np.int64),
                    np.array(pixels, dtype=np.int64),
                )
        return done

    def open(self, rank: int) -> TextIO:
        """Open the file of a process for appending.

        Args:
            rank (int): Rank of the process.

        Returns:
            TextIO: The file; each line is written as soon as it is complete.

        Raises:
            OSError: If the file cannot be written, or is a symbolic link.
        """
        return append_lines(self.folder / f'images_{rank}.jsonl')

    @staticmethod
    def write(file: TextIO, name: str, stamp: list, counts: Pairs) -> None:
        """Append the counts of an image.

        Args:
            file (TextIO): File from :meth:`open`.
            name (str): Name of the image.
            stamp (list): Sizes and modification times of the image's files.
            counts (Pairs): Confusion counts of the image.
        """
        pairs, pixels = counts
        line = [name, stamp, pairs.tolist(), pixels.tolist()]
        file.write(json.dumps(line) + '\n')


def changed_settings(path: Path, settings: dict[str, Any]) -> list[str]:
    """Names of the settings that differ from the settings of an earlier run.

    Args:
        path (Path): JSON file with the settings of the earlier run.
        settings (dict[str, Any]): Settings of this run, as JSON types.

    Returns:
        list[str]: Sorted names of the settings that differ.

    Raises:
        InputError: If the file cannot be read.
    """
    found = read_json(path)
    return sorted(
        key
        for key in {*found, *settings}
        if found.get(key) != settings.get(key)
    )
