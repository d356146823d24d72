# SPDX-License-Identifier: Apache-2.0
"""Progress bar of the command ``predict``."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


class Bar:
    """Progress bar of all files, and a second one within a raster or video.

    Args:
        progress (Progress): Display of the bars on the terminal.
        total (int): Number of files.
    """

    def __init__(self, progress: 'Progress', total: int) -> None:
        self.progress = progress
        self.files = progress.add_task('files', total=total)
        self.parts = progress.add_task('', total=1, visible=False)

    def file(self) -> None:
        """Count one more file as finished."""
        self.progress.advance(self.files)
        self.progress.update(self.parts, visible=False)

    def part(self, name: str, done: int, total: int) -> None:
        """Show the progress within a raster or video.

        Args:
            name (str): Name of the file.
            done (int): Number of finished tiles or frames.
            total (int): Number of all tiles or frames.
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
    """Context manager for a progress bar on stderr.

    Args:
        total (int): Number of files.
        rank (int): Rank of the process; only rank 0 shows the bar.

    Yields:
        Bar: The bar; it is hidden if stderr is not a terminal.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = Console(stderr=True)
    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=console,
        # Output to a file or program must not go to stderr with the bar.
        redirect_stdout=sys.stdout.isatty(),
        disable=rank != 0 or not console.is_terminal,
    ) as progress:
        yield Bar(progress, total)
