# SPDX-License-Identifier: Apache-2.0
"""Measure how fast a segmentor predicts."""

import argparse
import sys

from common_options import add_model_arguments


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    parser.add_argument(
        'checkpoint', nargs='?', help='weights; random ones without it'
    )
    parser.add_argument('--device', help='where; a GPU if there is one')
    parser.add_argument(
        '--batch-size', type=int, default=1, help='images a batch'
    )
    parser.add_argument(
        '--batches', type=int, default=100, help='batches that are timed'
    )
    parser.add_argument(
        '--warm-up', type=int, default=10, help='batches before'
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: float16 on GPUs, bfloat16 on CPUs',
    )
    parser.add_argument(
        '--compile', action='store_true', help='compile the backbone'
    )
    return parser.parse_args()


def main() -> int:
    """Print the figures; 2 for bad input."""
    args = parse_args()
    import torch

    from ovseg_mm.engine.flops import window_size
    from ovseg_mm.engine.launch import build_model, report_bad_input
    from ovseg_mm.engine.speed import amp_dtype, measure_speed

    with report_bad_input():
        if min(args.batch_size, args.batches) < 1 or args.warm_up < 0:
            raise ValueError(
                '--batch-size and --batches are at least 1, --warm-up is at '
                'least 0'
            )
        model = build_model(args, args.checkpoint, args.device)
        size = tuple(args.shape or window_size(model))
    if args.compile:
        model.backbone.forward = torch.compile(model.backbone.forward)
    speed = measure_speed(
        model, size, args.batch_size, args.batches, args.warm_up, args.amp
    )
    device = next(model.parameters()).device.type
    name = (
        torch.cuda.get_device_name()
        if device == 'cuda'
        else f'CPU, {torch.get_num_threads()} threads'
    )
    precision = amp_dtype(device) if args.amp else torch.get_default_dtype()
    vocabulary = model.vocabulary
    print(
        f'{args.batch_size / speed.median:.2f} images/s: median '
        f'{1e3 * speed.median:.1f} ms a batch, 10 % to 90 %: '
        f'{1e3 * speed.quantile(0.1):.1f} to '
        f'{1e3 * speed.quantile(0.9):.1f} ms, {args.batches} batches of '
        f'{args.batch_size} after {args.warm_up} to warm up'
    )
    print(
        f'device: {name}; torch {torch.__version__}; '
        f'precision: {str(precision).removeprefix("torch.")}; '
        f'compiled: {"backbone" if args.compile else "nothing"}'
    )
    print(
        f'peak memory: {speed.peak_memory / 2**30:.2f} GiB of '
        f'{"tensors" if device == "cuda" else "the process"}'
    )
    print(
        f'image: {size[0]}x{size[1]} pixels; vocabulary: '
        f'{vocabulary.num_texts} texts ({vocabulary.source}); weights: '
        f'{args.checkpoint or "random"}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
