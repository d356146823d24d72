# SPDX-License-Identifier: Apache-2.0
"""Train a segmentor."""

import argparse
import sys

from common_options import add_common_arguments, add_compile_option


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument(
        '--resume',
        action='store_true',
        help='continue from the last checkpoint in the work folder, if there '
        'is one',
    )
    parser.add_argument(
        '--load-from',
        help='weights to start from: checkpoint of this package, or file '
        'published by the authors of the method',
    )
    parser.add_argument(
        '--amp', action='store_true', help='train in mixed precision'
    )
    add_compile_option(parser)
    return parser.parse_args()


def main() -> int:
    """Train a segmentor; exit with status 2 for bad input."""
    args = parse_args()
    from ovseg_mm.engine.launch import (
        build_runner,
        enable_amp,
        load_config,
    )
    from ovseg_mm.engine.resume import find_starting_checkpoint
    from ovseg_mm.utils.errors import report_errors

    with report_errors():
        cfg = load_config(args, 'training')
        if args.load_from is not None:
            cfg.load_from = args.load_from
        if args.resume:
            start = find_starting_checkpoint(
                cfg.work_dir, cfg.get('load_from')
            )
            cfg.load_from, cfg.resume = start
        if args.amp:
            enable_amp(cfg)
        if args.compile:
            cfg.setdefault('compile', True)
        runner = build_runner(cfg)
        runner.train()
    return 0


if __name__ == '__main__':
    sys.exit(main())
