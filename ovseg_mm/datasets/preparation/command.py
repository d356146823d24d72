# SPDX-License-Identifier: Apache-2.0
"""Command line that all preparations of data sets share."""

import argparse
import inspect
import os
import sys
from pathlib import Path

from ovseg_mm.utils.errors import (
    REPORTED_ERRORS,
    add_debug_option,
    report_error,
)

from .base import Preparation
from .runner import check_files, run_tasks

_SHOWN = 5


def main(preparation: Preparation, argv: list[str] | None = None) -> int:
    """Run the command line of a preparation: prepare or verify a data set.

    Args:
        preparation (Preparation): Preparation of the data set.
        argv (list[str], optional): Command-line arguments. None:
            ``sys.argv``.

    Returns:
        int: Exit status: 0 for success, 1 if a file is wrong or could not be
        written, 2 for wrong input such as a missing download.
    """
    options = _parse(preparation, argv)
    root = preparation.folder(options)
    try:
        if options.verify or preparation.ready_made:
            return _verify(preparation, root, options)
        return _prepare(preparation, root, options)
    except REPORTED_ERRORS as error:
        return report_error(error)


def _parse(
    preparation: Preparation, argv: list[str] | None
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f'{preparation.title}: '
        f'{" ".join((inspect.getdoc(type(preparation)) or "").split())} '
        f'Download: {preparation.download}'
    )
    parser.add_argument(
        'root',
        nargs='?',
        help='folder of the data set (default: as in data/README.md)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count(),
        help='number of processes (default: %(default)s)',
    )
    parser.add_argument(
        '--verify',
        action='store_true',
        help='write nothing; check the number, the type and the label values '
        'of the finished files',
    )
    add_debug_option(parser)
    preparation.add_options(parser)
    return parser.parse_args(argv)


def _prepare(
    preparation: Preparation, root: Path, options: argparse.Namespace
) -> int:
    tasks = preparation.tasks(root, options)
    done, failures = run_tasks(tasks, options.workers, preparation.title)
    for failure in failures[:_SHOWN]:
        print(f'error: {failure}', file=sys.stderr)
    if not failures:
        preparation.finish(root, options)
    print(
        f'{preparation.title}: {done} made, '
        f'{len(tasks) - done - len(failures)} were there already, '
        f'{len(failures)} failed'
    )
    return int(bool(failures))


def _not_made(
    preparation: Preparation, root: Path, options: argparse.Namespace
) -> list[str]:
    """Return a list with one message if files of the preparation are missing.

    The message says how to make the files, or what is wrong with the
    download. The list is empty if no file is missing.
    """
    try:
        tasks = preparation.tasks(root, options)
    except REPORTED_ERRORS as error:
        return [str(error)]
    paths = [path for task in tasks for path in task.outputs]
    missing = [path for path in paths if not path.is_file()]
    if not missing:
        return []
    return [
        f'{len(missing)} of the files are not made yet ({missing[0]}, ...); '
        'run this command without --verify'
    ]


def _verify(
    preparation: Preparation, root: Path, options: argparse.Namespace
) -> int:
    problems = [
        problem
        for check in preparation.checks(root, options)
        for problem in check_files(check, options.workers)
    ]
    if problems:
        problems += _not_made(preparation, root, options)
    for problem in problems:
        print(f'problem: {problem}')
    if problems:
        print(f'{preparation.title}: download page: {preparation.download}')
    else:
        print(f'{preparation.title}: all is well')
    return int(bool(problems))
