# SPDX-License-Identifier: Apache-2.0
"""Measure where predictions and training spend CPU time and memory.

Each measurement runs in a fresh process. Times are CPU seconds, user and
system, of all threads: other work on the machine changes them less than
elapsed seconds. "Of the matrix rate" compares the multiply-adds of the model
with those of large matrix products in the same process. Ratios come first: to
the plain path, which computes as the papers and the authors' code write it
(--plain), and to an earlier run (--against). Weights are random unless CLIP's
are all that the model needs.
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
        help='measure the plain path of predictions or training steps too',
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        '--train',
        action='store_true',
        help='measure training steps of one image instead of predictions',
    )
    kinds.add_argument(
        '--load',
        action='store_true',
        help='measure data set and training pipeline without the model',
    )
    kinds.add_argument(
        '--folder',
        action='store_true',
        help='measure predictions of a folder of images, one at a time and '
        'in batches',
    )
    parser.add_argument(
        '--classes',
        help='class texts: a file, a shipped vocabulary such as ade150, or '
        'texts separated by ";" (default: those of the config)',
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
        help='measurements after the first one (default: %(default)s)',
    )
    parser.add_argument(
        '--threads', type=int, default=1, help='threads (default: %(default)s)'
    )
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='write all figures'
    )
    parser.add_argument(
        '--against',
        type=Path,
        metavar='FILE',
        help='figures of an earlier run (--json) to compare with',
    )
    add_debug_option(parser)
    return parser.parse_args()


def main() -> int:
    """Print the tables; 2 for bad input."""
    args = parse_args()
    from ovseg_mm.utils.errors import InputError, report_errors
    from ovseg_mm.utils.paths import write_text

    results = {}
    with report_errors():
        if min(args.repeats, args.threads, *args.image_size) < 1:
            raise InputError(
                '--repeats, --threads and --image-size are at least 1'
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
        dict[str, Any]: Figures by name of the measurement: ``predict`` or
        ``train``, with ``plain`` for the plain path; or ``load``; or
        ``folder 1`` and ``folder 8``. :mod:`ovseg_mm.analysis.workloads`
        lists the figures.
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
    """Run a measurement in a new process, so that others do not change it.

    Args:
        kind (str): Measurement: ``'predict'``, ``'train'``, ``'load'`` or
            ``'folder'``.
        config (str): Config file, or bare name of a shipped one.
        args (argparse.Namespace): Options of the command line.
        plain (bool): Whether to measure the plain path, which computes as the
            papers and the authors' code write it.
        **options (Any): ``batch_size`` (int) for ``'folder'``.

    Returns:
        dict[str, Any]: Figures, see :mod:`ovseg_mm.analysis.workloads`.
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
    """Run in this process what :func:`in_fresh_process` describes."""
    # Texts are encoded in every run.
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
    """Format measured figures as lines of text.

    Ratios to the plain path and to an earlier run come first, if measured.

    Args:
        config (str): Name of the model.
        figures (dict[str, Any]): Result of :func:`measure`.
        earlier (dict[str, Any]): Result of an earlier run; empty if there is
            none.

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
            lines += tables.ratios('plain path', figures['plain'], fast)
        if kind in earlier:
            lines += tables.ratios('earlier run', earlier[kind], fast)
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
