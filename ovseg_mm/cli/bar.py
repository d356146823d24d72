# SPDX-License-Identifier: Apache-2.0
"""Progress bar of a command."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


class Bar:
    """Progress bar of the files, and of the parts of a large one.

    Args:
        progress (Progress): Bars on a terminal.
        total (int): Number of files.
    """

    def __init__(self, progress: 'Progress', total: int) -> None:
        self.progress = progress
        self.files = progress.add_task('files', total=total)
        self.parts = progress.add_task('', total=1, visible=False)

    def file(self) -> None:
        """Count a file."""
        self.progress.advance(self.files)
        self.progress.update(self.parts, visible=False)

    def part(self, name: str, done: int, total: int) -> None:
        """Show how far a large file is.

        Args:
            name (str): Name of the file.
            done (int): Finished tiles or frames.
            total (int): All of them.
        """
        self.progress.update(
            self.parts,
            description=name,
            completed=done,
            total=total,
            visible=True,
        )


@contextmanager
def progress_bar(total: int, rank: int) -> Iterator[Bar]:
    """Bar with the time left, on the terminal of the first process.

    Args:
        total (int): Number of files.
        rank (int): Rank of the process.

    Yields:
        Bar: The bar; it shows nothing without a terminal.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = Console(stderr=True)
    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=console,
        # Output that goes to a file or program must not be redirected.
        redirect_stdout=sys.stdout.isatty(),
        disable=rank != 0 or not console.is_terminal,
    ) as progress:
        yield Bar(progress, total)
