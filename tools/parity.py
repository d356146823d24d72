# SPDX-License-Identifier: Apache-2.0
"""Compare our outputs with those of a published implementation."""

import argparse
import sys
import traceback
from pathlib import Path

from common_options import add_debug_option


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'folders',
        nargs='+',
        type=Path,
        metavar='FOLDER',
        help='folder of a case (case.json and golden.npz), or one above some',
    )
    add_debug_option(parser)
    return parser.parse_args()


def main() -> int:
    """Print a line for each output.

    Returns:
        int: 0 if all are within their tolerances, 1 if one is not or a case
        cannot be run, 2 if a folder holds no case.
    """
    args = parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / 'tests' / 'parity'))
    from runner import find_cases

    from ovseg_mm.utils.errors import report_errors

    with report_errors():
        cases = [
            case for folder in args.folders for case in find_cases(folder)
        ]
    failed = sum(map(run_case, cases))
    print(f'{failed} outputs over tolerance' if failed else 'all passed')
    return int(failed > 0)


def run_case(case: Path) -> int:
    """Print the outputs of a case; how many are over their tolerances."""
    from runner import compare_case

    print(f'{case.parent.name}/{case.name}', flush=True)
    failed = 0
    try:
        for name, error, tolerance in compare_case(case):
            passed = error <= tolerance
            failed += not passed
            print(
                f'  {"ok  " if passed else "OVER"} {name}: relative '
                f'error {error:.1e}, tolerance {tolerance:.1e}',
                flush=True,
            )
    except Exception:  # the other cases still have something to say
        traceback.print_exc()
        print('  OVER the case cannot be run', flush=True)
        failed += 1
    return failed


if __name__ == '__main__':
    sys.exit(main())
