# SPDX-License-Identifier: Apache-2.0
"""Files of JSON lines that a killed process may leave unfinished."""

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
        TextIO: The file; each line is written as soon as it is complete.

    Raises:
        OSError: If the file cannot be written, or is a symbolic link.
    """
    check_destination(path)
    file = open(
        path, 'a', buffering=1, encoding='utf-8', opener=_without_links
    )
    # Ends the unfinished line that a killed process may have left.
    if path.stat().st_size:
        file.write('\n')
    return file


def read_lines(path: Path) -> Iterator[Any]:
    """Values of a file of JSON lines; broken lines are left out.

    Args:
        path (Path): The file.

    Yields:
        Any: The value of a line.
    """
    with open(path, encoding='utf-8', errors='replace') as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:  # the unfinished line of a killed process
                continue


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, 'O_NOFOLLOW', 0), 0o666)
