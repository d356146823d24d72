# SPDX-License-Identifier: Apache-2.0
"""Measure how fast a segmentor predicts."""

import argparse
import sys
from typing import TYPE_CHECKING

from common_options import add_model_arguments, add_speed_options

if TYPE_CHECKING:
    from torch import nn


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint (default: if config is the name of a model, its '
        'published weights; if the method needs no training, the weights of '
        'CLIP; otherwise random weights)',
    )
    parser.add_argument(
        '--device', help='device (default: a GPU if there is one)'
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        help='images per batch (default: %(default)s)',
    )
    parser.add_argument(
        '--batches',
        type=int,
        help='number of batches to time (default: 100; with --test-images: '
        '900)',
    )
    parser.add_argument(
        '--warm-up',
        type=int,
        help='number of batches before timing starts (default: 10; with '
        '--test-images: 100)',
    )
    parser.add_argument(
        '--test-images',
        action='store_true',
        help="use images of the config's test set, in order, instead of "
        'random images; if the test set is too small, --batches and '
        '--warm-up are reduced',
    )
    add_speed_options(parser)
    return parser.parse_args()


def main() -> int:
    """Print the speed; exit with status 2 for bad input."""
    args = parse_args()
    import torch

    from ovseg_mm.analysis.speed import measure_speed
    from ovseg_mm.engine.compiling import compile_towers
    from ovseg_mm.engine.launch import build_model
    from ovseg_mm.inference import amp_dtype
    from ovseg_mm.models.clip_towers import parameters_of_no_file
    from ovseg_mm.utils.errors import report_errors
    from ovseg_mm.zoo import resolve_model

    with report_errors():
        warm_up, batches = counts(args)
        images = test_images(args, warm_up, batches)
        if images is not None:
            warm_up, batches, loader, note = images
        checkpoint = resolve_model(args.config, args.checkpoint).fetch()
        model = build_model(args, checkpoint, args.device)
        if images is None:
            loader, note = random_images(args, model, warm_up + batches)
        compile_towers(model, args.compile)
        speed = measure_speed(model, loader, warm_up, args.amp)
    device = next(model.parameters()).device.type
    name = (
        torch.cuda.get_device_name()
        if device == 'cuda'
        else f'CPU, {torch.get_num_threads()} threads'
    )
    precision = amp_dtype(device) if args.amp else torch.get_default_dtype()
    weights = 'random' if parameters_of_no_file(model) else "CLIP's"
    if checkpoint is not None:
        weights = checkpoint
    vocabulary = model.vocabulary
    print(
        f'{args.batch_size / speed.median:.2f} images/s: median '
        f'{1e3 * speed.median:.1f} ms per batch, mean {1e3 * speed.mean:.1f} '
        f'ms, quantiles 10 % and 90 %: {1e3 * speed.quantile(0.1):.1f} and '
        f'{1e3 * speed.quantile(0.9):.1f} ms; batches: '
        f'{batches} timed, {warm_up} for warm-up, batch size '
        f'{args.batch_size}'
    )
    print(
        f'device: {name}; torch {torch.__version__}; '
        f'precision: {str(precision).removeprefix("torch.")} (float32 matrix '
        f'products: {torch.get_float32_matmul_precision()}); '
        f'compiled: {"blocks of CLIP" if args.compile else "nothing"}'
    )
    print(
        f'peak memory: {speed.peak_memory / 2**30:.2f} GiB of '
        f'{"tensors" if device == "cuda" else "the process"}'
    )
    print(
        f'{note}; vocabulary: {vocabulary.num_texts} texts '
        f'({vocabulary.source}); weights: {weights}'
    )
    return 0


def counts(args: argparse.Namespace) -> tuple[int, int]:
    """Choose the numbers of batches for the warm-up and for the timing.

    Args:
        args (argparse.Namespace): Options of the command.

    Returns:
        tuple[int, int]: Number of warm-up batches and number of timed batches.

    Raises:
        InputError: If a number is too small, or ``--shape`` is given with
            ``--test-images``.
    """
    warm_up, batches = args.warm_up, args.batches
    if warm_up is None:
        warm_up = 100 if args.test_images else 10
    if batches is None:
        batches = 900 if args.test_images else 100
    from ovseg_mm.utils.errors import InputError

    if min(args.batch_size, batches) < 1 or warm_up < 0:
        raise InputError(
            '--batch-size and --batches must be at least 1, and --warm-up at '
            'least 0'
        )
    if args.test_images and args.shape:
        raise InputError(
            '--shape is the size of random images; leave it out with '
            '--test-images, since the test pipeline decides their size'
        )
    return warm_up, batches


def test_images(
    args: argparse.Namespace, warm_up: int, batches: int
) -> tuple | None:
    """Load batches of test images. Without ``--test-images``, return None.

    The result is the number of warm-up batches, the number of timed batches,
    the loader of the batches, and a description of the images to print.
    """
    if not args.test_images:
        return None
    from ovseg_mm.analysis.speed import (
        build_test_set,
        fit_counts,
        image_batches,
    )
    from ovseg_mm.engine.launch import read_config
    from ovseg_mm.utils.errors import InputError

    cfg = read_config(args.config, args.cfg_options)
    dataset = build_test_set(cfg)
    available = len(dataset) // args.batch_size
    if not available:
        raise InputError(
            f'the test set has {len(dataset)} images, fewer than one batch of '
            f'{args.batch_size}; reduce --batch-size'
        )
    found = fit_counts(warm_up, batches, available)
    loader = image_batches(
        dataset,
        args.batch_size,
        sum(found),
        cfg.test_dataloader.get('num_workers', 0),
    )
    used = args.batch_size * sum(found)
    note = f'images: {used} of {len(dataset)} test images of the config'
    if found != (warm_up, batches):
        note += (
            f', too few for {warm_up} batches for warm-up and {batches} timed'
        )
    return *found, loader, note


def random_images(
    args: argparse.Namespace, model: 'nn.Module', count: int
) -> tuple:
    """Batches of random images, and a description of their size to print."""
    from ovseg_mm.analysis.flops import window_size
    from ovseg_mm.analysis.speed import random_batches

    size = tuple(args.shape or window_size(model))
    note = f'image: {size[0]}x{size[1]} pixels, random'
    return random_batches(size, args.batch_size, count), note


if __name__ == '__main__':
    sys.exit(main())
