# SPDX-License-Identifier: Apache-2.0
"""Command ``evaluate``: test a model on several benchmarks."""

import argparse
import os
import sys
from pathlib import Path

import ovseg_mm
from ovseg_mm.utils.model_index import config_of_benchmark
from ovseg_mm.utils.options import add_cfg_options
from ovseg_mm.utils.speed_options import (
    add_speed_options,
    speed_options,
    speed_settings,
)
from ovseg_mm.zoo import resolve_model


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the parser of the command ``evaluate``."""
    parser = subparsers.add_parser(
        'evaluate',
        help='test a model on several benchmarks',
        description='Test a model on several benchmarks and write one table. '
        'A killed evaluation resumes when the command is run again. '
        'Several processes: torchrun --nproc_per_node N -m ovseg_mm '
        'evaluate ... --launcher pytorch. Exit status 1: a data set was '
        'skipped because its files are missing.',
    )
    parser.add_argument(
        'model',
        help="name of a model that 'python -m ovseg_mm models' lists; or a "
        'config file, or the bare name of a shipped config',
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint of this package, or file published by the authors '
        'of the method (default: for the name of a model, its published '
        'weights, which are downloaded once; for a config, only the weights '
        'of CLIP)',
    )
    parser.add_argument(
        '--datasets',
        required=True,
        help='benchmarks, separated by commas: ade150, ade847, pc59, pc459, '
        'voc20, voc20b, voc21, pc60, coco (or stuff), object, cityscapes; or '
        'config files, which are used without changes. For a benchmark, the '
        'model is tested with the config that is shipped for this model and '
        'this benchmark. If there is no such config, the image size and the '
        'constants of the method, such as thresholds, are taken from the '
        'config of the model. The results name the config that was used',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='folder for results (default: work_dirs/MODEL/evaluate)',
    )
    parser.add_argument(
        '--out',
        help='folder for predicted label maps, PNG files of 8 or 16 bits '
        '(default: label maps are not saved)',
    )
    add_cfg_options(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='launcher that starts several processes; each process tests a '
        'part of the images; pytorch runs on CPUs if there is no GPU',
    )
    add_speed_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate a model.

    Args:
        args (argparse.Namespace): Options of the command.

    Returns:
        int: Exit status: 1 if a data set was skipped, otherwise 0.
    """
    name = resolve_model(args.model, args.checkpoint).name
    datasets = [key.strip() for key in args.datasets.split(',')]
    for key in datasets:
        config_of_benchmark(key)
    os.environ.setdefault('LOCAL_RANK', '0')
    ovseg_mm.register()
    from mmengine.dist import get_dist_info

    from ovseg_mm.apis import evaluate
    from ovseg_mm.apis.report import result_table

    work_dir = args.work_dir or Path('work_dirs', name, 'evaluate')
    evaluation = evaluate(
        args.model,
        args.checkpoint,
        datasets,
        work_dir,
        args.launcher,
        {**(args.cfg_options or {}), **speed_settings(**speed_options(args))},
        args.out,
    )
    if get_dist_info()[0] == 0:
        if evaluation.rows:
            print(result_table(evaluation.rows))
            print(f'results: {work_dir}/results.json, .csv, .md')
        for key, why in evaluation.skipped.items():
            print(f'skipped {key}: {why}', file=sys.stderr)
    return int(bool(evaluation.skipped))
