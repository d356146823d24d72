# SPDX-License-Identifier: Apache-2.0
"""Measure the CPU time and memory of the stages of predictions and training.

Each measurement runs in a new process. Times are CPU seconds of all threads,
in user and system mode. They depend less on other programs on the machine than
elapsed seconds do. The speed of large matrix products is measured too, as a
reference for the speed of the model.

The plain path is a direct implementation of the papers, without the
optimisations of this package. With --plain, the output begins with the CPU
time of the plain path divided by the CPU time of the optimised code. With
--against, the CPU time of an earlier run divided by that of this run is
printed too. A model that needs only the weights of CLIP gets them; all other
models get random weights.
"""

import argparse
import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

from common_options import add_cfg_options, add_debug_option

# Sizes of the batches of --folder.
BATCH_SIZES = 1, 8


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'configs',
        nargs='+',
        metavar='config',
        help='config files, or bare names of shipped ones',
    )
    add_cfg_options(parser)
    parser.add_argument(
        '--plain',
        action='store_true',
        help='also measure predictions or training steps of the plain path, a '
        'direct implementation without the optimisations of this package',
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        '--train',
        action='store_true',
        help='measure training steps instead of predictions; each step '
        'has a batch of one image',
    )
    kinds.add_argument(
        '--load',
        action='store_true',
        help='measure how fast the data set and the training pipeline load '
        'images, without a model',
    )
    kinds.add_argument(
        '--folder',
        action='store_true',
        help='measure predictions of a folder of images, in batches of 1 and '
        'in batches of 8',
    )
    parser.add_argument(
        '--classes',
        help='class texts: a file, a shipped vocabulary such as ade150, or '
        'texts separated by ";" (default: class texts of the config)',
    )
    parser.add_argument(
        '--image-size',
        nargs=2,
        type=int,
        default=(480, 640),
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the image file (default: 480 640)',
    )
    parser.add_argument(
        '--repeats',
        type=int,
        default=3,
        help='number of predictions or training steps whose mean cost is '
        'printed; one more runs before them and encodes the class texts '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--threads',
        type=int,
        default=1,
        help='number of PyTorch threads (default: %(default)s)',
    )
    parser.add_argument(
        '--json',
        type=Path,
        metavar='FILE',
        help='write all measured numbers to this JSON file',
    )
    parser.add_argument(
        '--against',
        type=Path,
        metavar='FILE',
        help='JSON file that an earlier run wrote with --json; its numbers '
        'are compared with the numbers of this run',
    )
    add_debug_option(parser)
    return parser.parse_args()


def main() -> int:
    """Print the measured numbers; exit with status 2 for bad input."""
    args = parse_args()
    from ovseg_mm.utils.errors import InputError, report_errors
    from ovseg_mm.utils.paths import write_text

    results = {}
    with report_errors():
        if min(args.repeats, args.threads, *args.image_size) < 1:
            raise InputError(
                '--repeats, --threads and --image-size must be at least 1'
            )
        earlier = json.loads(args.against.read_text()) if args.against else {}
        for config in args.configs:
            figures = measure(config, args)
            results[config] = figures
            print('\n'.join(report(config, figures, earlier.get(config, {}))))
        if args.json:
            write_text(args.json, json.dumps(results, indent=1) + '\n')
    return 0


def measure(config: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one model.

    Args:
        config (str): Config file, or bare name of a shipped one.
        args (argparse.Namespace): Options of the command line.

    Returns:
        dict[str, Any]: Results of the measurements, by name. Each result is
        the return value of a function of :mod:`ovseg_mm.analysis.workloads`.
        The names depend on the options:

        - ``--load``: ``load``;
        - ``--folder``: ``folder 1`` and ``folder 8``, for the two batch sizes;
        - ``--train``: ``train``; with ``--plain`` also ``plain``;
        - none of these options: ``predict``; with ``--plain`` also ``plain``.
    """
    if args.load:
        return dict(load=in_fresh_process('load', config, args))
    if args.folder:
        return {
            f'folder {size}': in_fresh_process(
                'folder', config, args, batch_size=size
            )
            for size in BATCH_SIZES
        }
    kind = 'train' if args.train else 'predict'
    figures = {kind: in_fresh_process(kind, config, args)}
    if args.plain:
        figures['plain'] = in_fresh_process(kind, config, args, True)
    return figures


def in_fresh_process(
    kind: str,
    config: str,
    args: argparse.Namespace,
    plain: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Run a measurement in a new process.

    In one process, earlier measurements would change later ones.

    Args:
        kind (str): Measurement: ``'predict'``, ``'train'``, ``'load'`` or
            ``'folder'``.
        config (str): Config file, or bare name of a shipped one.
        args (argparse.Namespace): Options of the command line.
        plain (bool): Whether to measure the plain path, a direct
            implementation of the papers.
        **options (Any): ``batch_size`` (int) for ``'folder'``.

    Returns:
        dict[str, Any]: Measured numbers, as returned by the function ``kind``
        of :mod:`ovseg_mm.analysis.workloads`.
    """
    context = multiprocessing.get_context('spawn')
    with context.Pool(1) as pool:
        return pool.apply(run, (kind, config, args, plain), options)


def run(
    kind: str,
    config: str,
    args: argparse.Namespace,
    plain: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Run a measurement in this process; see :func:`in_fresh_process`."""
    # Without a cache on the disk, texts are encoded in every run.
    os.environ['OVSEG_CACHE_SIZE'] = '0'
    from ovseg_mm.analysis.workloads import WORKLOADS, Work

    work = Work(
        config,
        args.cfg_options,
        args.classes,
        tuple(args.image_size),
        args.repeats,
        args.threads,
        plain,
    )
    return WORKLOADS[kind](work, **options)


def report(
    config: str, figures: dict[str, Any], earlier: dict[str, Any]
) -> list[str]:
    """Format the measured numbers of one model as lines of text.

    The first lines are the ratio of the plain path to the optimised code, and
    the ratio of an earlier run to this run. A ratio is left out if one of its
    two results is missing.

    Args:
        config (str): Config file, or bare name of a shipped one.
        figures (dict[str, Any]): Result of :func:`measure`.
        earlier (dict[str, Any]): Result of :func:`measure` in an earlier run;
            empty if there is none.

    Returns:
        list[str]: The lines.
    """
    from ovseg_mm.analysis import tables

    lines = [f'\n{Path(config).stem}']
    for kind in ('predict', 'train'):
        if kind not in figures:
            continue
        fast = figures[kind]
        if 'plain' in figures:
            lines += tables.ratios(
                'plain path / optimised code', figures['plain'], fast
            )
        if kind in earlier:
            lines += tables.ratios(
                'earlier run / this run', earlier[kind], fast
            )
        lines += tables.stages(fast)
        if 'plain' in figures:
            lines += ['  plain path:', *tables.stages(figures['plain'])]
    if 'load' in figures:
        lines += tables.loading(figures['load'])
    parts = {size: f'folder {size}' for size in BATCH_SIZES}
    if parts[1] in figures:
        lines += tables.folder({n: figures[key] for n, key in parts.items()})
    return lines


if __name__ == '__main__':
    sys.exit(main())
