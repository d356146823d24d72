# SPDX-License-Identifier: Apache-2.0
"""Compare our outputs with those of a published implementation."""

import argparse
import sys
from pathlib import Path


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
    return parser.parse_args()


def main() -> int:
    """Print a line for each output; 1 if any is over its tolerance."""
    args = parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / 'tests' / 'parity'))
    from runner import compare_case

    failed = 0
    for folder in args.folders:
        cases = sorted(file.parent for file in folder.rglob('case.json'))
        if not cases:
            print(f'error: no case.json in {folder}', file=sys.stderr)
            return 2
        for case in cases:
            print(f'{case.parent.name}/{case.name}')
            for name, error, tolerance in compare_case(case):
                passed = error <= tolerance
                failed += not passed
                print(
                    f'  {"ok  " if passed else "OVER"} {name}: relative '
                    f'error {error:.1e}, tolerance {tolerance:.1e}'
                )
    print(f'{failed} outputs over tolerance' if failed else 'all passed')
    return int(failed > 0)


if __name__ == '__main__':
    sys.exit(main())
