# SPDX-License-Identifier: Apache-2.0
"""What was counted so far, on disk."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ovseg_mm.utils.paths import check_destination, write_text

Pairs = tuple[np.ndarray, np.ndarray]


class EvaluationProgress:
    """The counts of each image of a data set, kept as they are made.

    Every process appends to a file of its own, a line an image, so that a
    killed evaluation loses nothing but the image at hand, and another number
    of processes may go on.

    Args:
        folder: Where the files are; made if need be.
        settings: What the counts depend on, as JSON knows it.

    Raises:
        ValueError: If the folder holds counts made with other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / 'settings.json'
        settings = json.loads(json.dumps(settings))
        if path.is_file():
            found = json.loads(path.read_text())
            changed = sorted(
                key
                for key in {*found, *settings}
                if found.get(key) != settings.get(key)
            )
            if changed:
                raise ValueError(
                    f'{folder} holds results of another evaluation '
                    f'({", ".join(changed)} differ); delete it or name '
                    'another --work-dir.'
                )
        else:
            write_text(path, json.dumps(settings, indent=1) + '\n')

    def read(self, stamps: Mapping[str, list]) -> dict[str, Pairs]:
        """Read the counts of each image that is done, by its name.

        Args:
            stamps: By name, what tells the files of an image from others of
                their names; what was counted with other files is left out.
        """
        done = {}
        for path in sorted(self.folder.glob('images_*.jsonl')):
            for line in path.read_text().splitlines():
                try:
                    name, stamp, pairs, pixels = json.loads(line)
                except ValueError:  # what a killed process left
                    continue
                if stamps.get(name) != stamp:
                    continue
                done[name] = (
                    np.array(pairs, dtype=np.int64),
                    np.array(pixels, dtype=np.int64),
                )
        return done

    def open(self, rank: int) -> TextIO:
        """Open the file that a process appends to.

        Raises:
            OSError: If it cannot be written, or is a link.
        """
        path = self.folder / f'images_{rank}.jsonl'
        check_destination(path)
        file = open(path, 'a', buffering=1, opener=_without_links)
        # The line that a killed process left must not swallow the next one.
        if path.stat().st_size:
            file.write('\n')
        return file

    @staticmethod
    def write(file: TextIO, name: str, stamp: list, counts: Pairs) -> None:
        """Append the counts of an image."""
        pairs, pixels = counts
        line = [name, stamp, pairs.tolist(), pixels.tolist()]
        file.write(json.dumps(line) + '\n')


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, 'O_NOFOLLOW', 0), 0o666)
