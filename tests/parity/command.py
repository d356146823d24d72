# SPDX-License-Identifier: Apache-2.0
"""``python tests/parity FOLDER``: our outputs beside published ones."""

import argparse
import traceback
from collections.abc import Sequence
from pathlib import Path

from runner import compare_case, find_cases

from ovseg_mm.utils.errors import add_debug_option, report_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each output.

    Args:
        argv: Arguments. None: the command line's.

    Returns:
        int: 0 if all are within their tolerances, 1 if one is not or a case
        cannot be run.

    Raises:
        SystemExit: With status 2, if a folder holds no case.
    """
    parser = argparse.ArgumentParser(
        prog='python tests/parity',
        description='Compare our outputs with those of a published '
        'implementation.',
    )
    parser.add_argument(
        'folders',
        nargs='+',
        type=Path,
        metavar='FOLDER',
        help='folder of a case (case.json and golden.npz), or one above some',
    )
    add_debug_option(parser)
    args = parser.parse_args(argv)
    with report_errors():
        cases = [
            case for folder in args.folders for case in find_cases(folder)
        ]
    failed = sum(map(run_case, cases))
    print(f'{failed} outputs over tolerance' if failed else 'all passed')
    return int(failed > 0)


def run_case(case: Path) -> int:
    """Print the outputs of a case; how many are over their tolerances."""
    print(f'{case.parent.name}/{case.name}', flush=True)
    failed = 0
    try:
        for output in compare_case(case):
            failed += not output.passed
            print(
                f'  {"ok  " if output.passed else "OVER"} {output.name}: '
                f'relative error {output.error:.1e}, tolerance '
                f'{output.tolerance:.1e}',
                flush=True,
            )
    except Exception:  # the other cases still have something to say
        traceback.print_exc()
        print('  OVER the case cannot be run', flush=True)
        failed += 1
    return failed
