# SPDX-License-Identifier: Apache-2.0
"""Files with one JSON value per line, whose last line may be incomplete."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from .paths import check_destination


def append_lines(path: Path) -> TextIO:
    """Open a file of JSON lines for appending.

    Args:
        path (Path): The file.

    Returns:
        TextIO: Open file, which writes each line as soon as the line is
        complete. If the file is not empty, a line break has been written,
        because a killed process may have left an incomplete last line.

    Raises:
        OSError: If the file cannot be written, or is a symbolic link.
    """
    check_destination(path)
    file = open(
        path, 'a', buffering=1, encoding='utf-8', opener=_without_links
    )
    # A killed process may have left an incomplete line.
    if path.stat().st_size:
        file.write('\n')
    return file


def read_lines(path: Path) -> Iterator[Any]:
    """Read the values in a file of JSON lines; skip damaged lines.

    Args:
        path (Path): The file.

    Yields:
        Any: Value of the next line that is not damaged.
    """
    with open(path, encoding='utf-8', errors='replace') as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:  # the unfinished line of a killed process
                continue


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, 'O_NOFOLLOW', 0), 0o666)
