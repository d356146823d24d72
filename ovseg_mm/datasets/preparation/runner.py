# SPDX-License-Identifier: Apache-2.0
"""Run the tasks that prepare a data set, and check label files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import image_size, read_label_map, swaps_sides
from ovseg_mm.utils.paths import remove_leftovers

from ..transforms.loading import compare_sizes
from .base import LabelCheck, Task

_CHUNK = 8
_SHOWN = 5


def run_tasks(
    tasks: Sequence[Task], workers: int, title: str
) -> tuple[int, list[str]]:
    """Run the unfinished tasks of a preparation in several processes.

    Args:
        tasks (Sequence[Task]): All tasks; finished tasks are skipped.
        workers (int): Number of processes.
        title (str): Title of the progress bar.

    Returns:
        tuple[int, list[str]]: Number of tasks that succeeded, and one error
        message for each task that failed.
    """
    for folder in {path.parent for task in tasks for path in task.outputs}:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    left = [
        task
        for task in tasks
        if not all(path.is_file() for path in task.outputs)
    ]
    failures = [
        failure for failure in _map(_run, left, workers, title) if failure
    ]
    return len(left) - len(failures), failures


def check_files(check: LabelCheck, workers: int) -> list[str]:
    """Check finished label files.

    Args:
        check (LabelCheck): Expected contents of the label files.
        workers (int): Number of processes.

    Returns:
        list[str]: One message for each problem; empty if there is none.
    """
    if not check.folder.is_dir():
        return [f'the folder of label files {check.folder} does not exist']
    names = check.names
    if names is None:
        paths = check.folder.rglob(f'*{check.suffix}')
        names = tuple(
            sorted(
                str(path.relative_to(check.folder)).removesuffix(check.suffix)
                for path in paths
            )
        )
    problems = []
    if check.counts and len(names) not in check.counts:
        expected = ' or '.join(map(str, check.counts))
        problems.append(
            f'{check.folder} has {len(names)} label files '
            f'(*{check.suffix}); expected {expected}'
        )
    wrong, found = [], set()
    for problem, labels in _map(
        partial(_check_file, check), names, workers, str(check.folder)
    ):
        wrong += [problem] if problem else []
        found |= labels
    problems += wrong[:_SHOWN]
    if len(wrong) > _SHOWN:
        problems.append(f'{len(wrong) - _SHOWN} more files have problems')
    if check.present is not None and not problems:
        if len(found) != check.present:
            problems.append(
                f'{len(found)} different labels occur in {check.folder}; '
                f'expected {check.present}'
            )
    return problems


def _map(
    function: Callable, items: Sequence, workers: int, title: str
) -> Iterator[Any]:
    """Yield the results of a function for all items, with a progress bar."""
    if workers <= 1:
        yield from _bar(map(function, items), len(items), title)
        return
    with ProcessPoolExecutor(workers) as pool:
        try:
            results = pool.map(function, items, chunksize=_CHUNK)
            yield from _bar(results, len(items), title)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _bar(results: Iterable, total: int, title: str) -> Iterable:
    return track(results, description=title, total=total)


def _run(task: Task) -> str | None:
    try:
        task.function(*task.args)
    except (InputError, OSError) as error:
        return str(error)
    return None


def _check_file(check: LabelCheck, name: str) -> tuple[str | None, set[int]]:
    """Check one label file.

    Args:
        check (LabelCheck): Expected contents of the label file.
        name (str): Name of the label file without suffix.

    Returns:
        tuple[str | None, set[int]]: Message (None if the file is valid), and
        labels that occur (empty if the file is not a valid label map).
    """
    path = check.folder / f'{name}{check.suffix}'
    image = check.images / f'{name}{check.image_suffix}'
    try:
        labels = read_label_map(str(path))
    except (InputError, OSError) as error:
        return str(error), set()
    bits = 8 if labels.dtype == np.uint8 else 16
    if bits != check.bits:
        return (
            f'{path} has {bits} bits per pixel; expected {check.bits}',
            set(),
        )
    values = set(np.unique(labels).tolist())
    values.discard(check.ignored)
    if values and max(values) >= check.values:
        outside = sorted(v for v in values if v >= check.values)
        return (
            f'{path} holds the values {outside[:_SHOWN]}; expected 0 to '
            f'{check.values - 1}'
            + (f' and {check.ignored}' if check.ignored else '')
        ), set()
    return _check_image(image, labels.shape, path), values


def _check_image(
    path: Path, shape: tuple[int, int], labels: Path
) -> str | None:
    if not path.is_file():
        return f'the image {path} of the label file {labels} is missing'
    try:
        size, orientation = image_size(path)
    except OSError as error:
        return f'the image {path} cannot be read ({error})'
    # OpenVocabDataset turns images by their EXIF orientation.
    size = size[::-1] if swaps_sides(orientation) else size
    try:
        compare_sizes(
            str(path), str(labels), size, shape, orientation, applied=True
        )
    except InputError as error:
        return str(error)
    return None
