# SPDX-License-Identifier: Apache-2.0
"""Draw the toy world, a small data set for the configs in configs/toy.

Nothing is downloaded.
"""

import argparse
import sys
from pathlib import Path

from ovseg_mm.utils.errors import add_debug_option, report_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'folder',
        type=Path,
        nargs='?',
        default=Path('data/toy_world'),
        help='folder of the data set (default: %(default)s)',
    )
    parser.add_argument(
        '--num-train',
        type=int,
        default=400,
        help='number of training scenes (default: %(default)s)',
    )
    parser.add_argument(
        '--num-val',
        type=int,
        default=96,
        help='number of validation scenes (default: %(default)s)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the scenes'
    )
    add_debug_option(parser)
    return parser.parse_args()


def main() -> int:
    """Draw and write the data set; exit with status 2 for bad input."""
    args = parse_args()
    from ovseg_mm.toy.world import write_toy_world

    with report_errors():
        written = write_toy_world(
            args.folder, args.num_train, args.num_val, args.seed
        )
    print(f'{args.folder} {"is written" if written else "exists already"}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
