# SPDX-License-Identifier: Apache-2.0
"""What a run that is to be resumed begins with."""

import re
from pathlib import Path

from mmengine.runner import find_latest_checkpoint

from ovseg_mm.checkpoints import check_whole
from ovseg_mm.errors import InputError


def find_start(
    work_dir: str, load_from: str | None
) -> tuple[str | None, bool]:
    """Choose between the run of a work folder and a new one.

    MMEngine takes ``load_from`` for the run to be resumed. A second stage
    names the weights of its first one there: it would go on at the first
    stage's last iteration, which is the end of its own schedule.

    Args:
        work_dir (str): Work folder.
        load_from (str, optional): Weights that a new run begins with.

    Returns:
        tuple[str | None, bool]: The checkpoint, and whether it is to be
        resumed; otherwise only its weights are loaded.

    Raises:
        ValueError: If the last checkpoint is damaged or gone.
    """
    latest = find_latest_checkpoint(work_dir)
    if latest is None:
        return load_from, False
    # Sharded runs may save folders.
    if not latest or not Path(latest).is_dir():
        note = Path(work_dir, 'last_checkpoint')
        _check_last(Path(latest) if latest else note, note)
    return latest, True


def _check_last(latest: Path, note: Path) -> None:
    try:
        check_whole(latest)
    except (ValueError, FileNotFoundError) as error:
        whole = _newest_whole(note.parent)
        remedy = (
            f'remove {note} to begin anew'
            if whole is None
            else f'the newest whole one is {whole}; to continue from it, '
            f'write its path into {note}'
        )
        raise InputError(
            f'the last checkpoint cannot be resumed: {error}; {remedy}'
        ) from error


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
        except ValueError:
            continue
        return found[number]
    return None
