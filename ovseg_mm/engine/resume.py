# SPDX-License-Identifier: Apache-2.0
"""What a run that is to be resumed begins with."""

from mmengine.runner import find_latest_checkpoint


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
    """
    latest = find_latest_checkpoint(work_dir)
    return (latest, True) if latest is not None else (load_from, False)
