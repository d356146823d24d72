# SPDX-License-Identifier: Apache-2.0
"""Test a segmentor and, if wanted, draw its predictions."""

import argparse
import sys

from common_options import add_common_arguments, add_speed_options


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint of this package, or file published by the authors '
        'of the method; leave it out if config is the name of a model; leave '
        "it out or write 'none' if the method needs no training and uses only "
        'the weights of CLIP',
    )
    parser.add_argument(
        '--out', help='folder for predicted label maps (8 or 16 bits)'
    )
    parser.add_argument(
        '--show',
        action='store_true',
        help='show a drawing of each prediction on the screen',
    )
    parser.add_argument(
        '--show-dir', help='folder for a drawing of each prediction'
    )
    parser.add_argument(
        '--show-proposals',
        type=int,
        default=0,
        metavar='N',
        help='below each drawing, show the N mask proposals that label the '
        'most pixels; each is shown with the class predicted from its '
        'embedding and the class predicted from its image region',
    )
    parser.add_argument(
        '--wait-time',
        type=float,
        default=2,
        help='seconds for which --show shows a drawing (default: %(default)s)',
    )
    parser.add_argument(
        '--tta', action='store_true', help='use test-time augmentation'
    )
    add_speed_options(parser)
    return parser.parse_args()


def main() -> int:
    """Test a segmentor; exit with status 2 for bad input."""
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
            raise InputError(
                '--show-proposals has no effect without drawings; add '
                '--show-dir or --show'
            )
        cfg = load_config(args, 'testing')
        if args.amp:
            cfg.test_cfg.fp16 = True
        if args.compile:
            cfg.setdefault('compile', True)
        checkpoint = resolve_model(args.config, args.checkpoint).fetch()
        # load_from names weights to start a training from.
        cfg.load_from = None
        # Only training shards a model over processes.
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
