# SPDX-License-Identifier: Apache-2.0
"""Choice of the checkpoint that a resumed run starts from."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mmengine.hooks import checkpoint_hook
from mmengine.logging import print_log

from ovseg_mm.checkpoints import check_whole
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import atomic_write, to_disk

NOTE = 'last_checkpoint'


def find_starting_checkpoint(
    work_dir: str, load_from: str | None
) -> tuple[str | None, bool]:
    """Choose between resuming the run of a work folder and a new run.

    MMEngine resumes the run of ``load_from``. In a second stage of training
    this is the checkpoint of the first stage: the run would continue at the
    last iteration of the first stage, which is the end of its own schedule.

    This function chooses the checkpoint that ``last_checkpoint`` of the work
    folder names. If that file is empty or damaged, or the checkpoint is
    damaged or missing, it chooses the newest whole checkpoint of the folder,
    with a warning.

    Args:
        work_dir (str): Work folder.
        load_from (str, optional): Weights that a new run begins with.

    Returns:
        tuple[str | None, bool]: The checkpoint, and whether to resume it;
        otherwise only its weights are loaded.

    Raises:
        InputError: If ``last_checkpoint`` exists, but no checkpoint is whole.
    """
    note = Path(work_dir, NOTE)
    if not note.exists():
        return load_from, False
    try:
        latest = _named_in(note)
        # Sharded runs may save folders.
        if not latest.is_dir():
            check_whole(latest)
        return str(latest), True
    except (ValueError, OSError) as error:
        whole = _newest_whole(note.parent)
        if whole is None:
            raise InputError(
                f'the last checkpoint cannot be resumed: {error}; there is '
                f'no whole checkpoint in {work_dir}: remove {note} to start '
                'from the beginning'
            ) from error
        print_log(
            f'the last checkpoint cannot be resumed: {error}; resuming from '
            f'{whole}, the newest whole one',
            'current',
            logging.WARNING,
        )
        return str(whole), True


def _named_in(note: Path) -> Path:
    """Path that ``last_checkpoint`` holds."""
    try:
        text = note.read_text(encoding='utf-8').strip()
    except UnicodeDecodeError:
        text = ''
    if not text or '\0' in text or '\n' in text:
        raise InputError(f'{note} does not hold the path of a checkpoint')
    return Path(text)


def _newest_whole(folder: Path) -> Path | None:
    """The checkpoint of most iterations or epochs that is not damaged."""
    found = {
        int(match[1]): path
        for path in folder.glob('*.pth')
        if (match := re.fullmatch(r'(?:iter|epoch)_(\d+)\.pth', path.name))
    }
    for number in sorted(found, reverse=True):
        try:
            check_whole(found[number])
        except (ValueError, OSError):
            continue
        return found[number]
    return None


@contextmanager
def _open_whole(path: str, mode: str = 'r') -> Iterator[IO[str]]:
    """Open a file; a written text file appears only when it is complete."""
    if mode != 'w':
        with open(path, mode) as file:
            yield file
        return
    with atomic_write(path) as binary:
        with open(binary.fileno(), mode, closefd=False) as file:
            yield file
        to_disk(binary)


# MMEngine's hook opens last_checkpoint, the only file that it opens, in the
# middle of a long method; a kill in between would leave an empty one.
checkpoint_hook.open = _open_whole
