# SPDX-License-Identifier: Apache-2.0
"""Train the CLIP of the toy world on captions and write its weights.

Without options, this script makes the file that the package contains, except
for rounding errors, which depend on the processor and the number of threads.
It takes about 8 minutes on two cores. Labels are used only after the training,
to measure the zero-shot mIoU of the patch tokens.
"""

import argparse
import sys
from pathlib import Path

from common_options import add_debug_option


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data/toy_clip.safetensors'),
        metavar='FILE',
        help='file to write (default: %(default)s)',
    )
    parser.add_argument(
        '--iters',
        type=int,
        default=1600,
        help='number of training iterations (default: %(default)s)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the training'
    )
    add_debug_option(parser)
    return parser.parse_args()


def main() -> int:
    """Train a CLIP, save and test it; exit with status 2 for bad input."""
    args = parse_args()
    from mmengine.config import Config
    from safetensors.torch import save

    from ovseg_mm.engine import AtomicBackend
    from ovseg_mm.engine.launch import check_writable
    from ovseg_mm.toy.clip_training import train_toy_clip, zero_shot_metrics
    from ovseg_mm.utils.errors import report_errors
    from ovseg_mm.utils.paths import resource

    base = resource('configs', '_base_', 'models', 'toy-clip.py')
    arch = Config.fromfile(base).toy_clip.arch
    with report_errors():
        check_writable(args.out.parent, '--out')
        model, losses = train_toy_clip(arch.to_dict(), args.iters, args.seed)
    AtomicBackend().put(save(model.weights()), args.out)
    metrics = zero_shot_metrics(model)
    print(
        f'loss {losses[0]:.2f} at the start, {losses[-1]:.2f} at the end\n'
        'zero-shot mIoU of patch tokens: '
        f'seen {metrics["mIoU_seen"]:.1f}, unseen '
        f'{metrics["mIoU_unseen"]:.1f}\n{args.out} is written'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
