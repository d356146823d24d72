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
    """Choose the checkpoint that a run with ``resume`` starts from.

    If the work folder has a file ``last_checkpoint``, the run is resumed from
    the checkpoint that this file names. If the file is damaged, or the
    checkpoint is damaged or missing, the run is resumed from the newest
    undamaged checkpoint of the folder, with a warning. Without a file
    ``last_checkpoint``, a new run starts with the weights of ``load_from``.

    MMEngine itself always resumes from ``load_from`` if it is set. In a
    second stage of training, ``load_from`` is the last checkpoint of the
    first stage. MMEngine would continue at the last iteration of the first
    stage, and the second stage would end immediately.

    Args:
        work_dir (str): Work folder of the run.
        load_from (str, optional): Checkpoint with the weights of a new run.

    Returns:
        tuple[str | None, bool]: Path of the checkpoint (None: there is no
        checkpoint to load), and whether to resume the run (False: only the
        weights are loaded).

    Raises:
        InputError: If ``last_checkpoint`` exists, but all checkpoints are
            damaged.
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
                f'the last checkpoint cannot be resumed: {error}; '
                f'{work_dir} has no undamaged checkpoint; remove {note} to '
                'start from the beginning'
            ) from error
        print_log(
            f'the last checkpoint cannot be resumed: {error}; resuming from '
            f'{whole}, the newest undamaged checkpoint',
            'current',
            logging.WARNING,
        )
        return str(whole), True


def _named_in(note: Path) -> Path:
    """Read the path of a checkpoint from the file ``last_checkpoint``.

    If the file does not contain a path, an InputError with the reason is
    raised. :func:`find_starting_checkpoint` shows this reason to the user,
    together with the checkpoint from which the run resumes, or with advice.
    """
    try:
        text = note.read_text(encoding='utf-8').strip()
    except UnicodeDecodeError:
        text = ''
    if not text or '\0' in text or '\n' in text:
        raise InputError(
            f'the file {note} does not contain the path of a checkpoint'
        )
    return Path(text)


def _newest_whole(folder: Path) -> Path | None:
    """Find the undamaged checkpoint with the most iterations or epochs."""
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
    """Open a file.

    With mode 'w', the file is written under a temporary name and renamed at
    the end.
    """
    if mode != 'w':
        with open(path, mode) as file:
            yield file
        return
    with atomic_write(path) as binary:
        with open(binary.fileno(), mode, closefd=False) as file:
            yield file
        to_disk(binary)


# MMEngine's checkpoint hook opens only one file, last_checkpoint. If the
# process were killed while writing, MMEngine would leave an empty file.
checkpoint_hook.open = _open_whole
