# SPDX-License-Identifier: Apache-2.0
"""Test a segmentor and, if wanted, draw its predictions."""

import argparse
import sys

from common_options import add_common_arguments


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help="weights, ours or a published file of the method; 'none', or no "
        "argument, for methods without training, which have CLIP's weights, "
        'and for models with a name',
    )
    parser.add_argument(
        '--out', help='folder for predicted label maps, 16-bit safe'
    )
    parser.add_argument(
        '--show', action='store_true', help='show each picture in a window'
    )
    parser.add_argument(
        '--show-dir', help='folder for a picture of each image'
    )
    parser.add_argument(
        '--show-proposals',
        type=int,
        default=0,
        metavar='N',
        help='draw the N mask proposals that decide most pixels below each '
        'picture, with the classes of their embedding and of their region',
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds a window stays'
    )
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation'
    )
    return parser.parse_args()


def main() -> int:
    """Test; 2 for bad input."""
    args = parse_args()
    from ovseg_mm.engine.distributed import unwrap
    from ovseg_mm.engine.launch import (
        build_runner,
        enable_pictures,
        enable_tta,
        load_config,
        set_output_dir,
    )
    from ovseg_mm.engine.weights import load_weights
    from ovseg_mm.utils.errors import InputError, report_errors
    from ovseg_mm.zoo import resolve_model

    with report_errors():
        if args.show_proposals and not (args.show or args.show_dir):
            raise InputError('--show-proposals needs --show-dir or --show')
        cfg = load_config(args, 'testing')
        checkpoint = resolve_model(args.config, args.checkpoint).fetch()
        # Weights that a training starts from are not used in a test.
        cfg.load_from = None
        # Sharding is for training alone.
        cfg.pop('runner_type', None)
        if args.show or args.show_dir:
            enable_pictures(
                cfg,
                args.show_dir,
                args.show,
                args.wait_time,
                args.show_proposals,
            )
        if args.tta:
            enable_tta(cfg)
        if args.out:
            set_output_dir(cfg, args.out)
        runner = build_runner(cfg)
        weights = load_weights(unwrap(runner.model), checkpoint)
        runner.logger.info(f'loaded {weights.text}')
        runner.test()
    return 0


if __name__ == '__main__':
    sys.exit(main())
