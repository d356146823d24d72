# SPDX-License-Identifier: Apache-2.0
"""``python -m ovseg_mm add``: a downloaded file for a named model."""

import argparse
from pathlib import Path

import ovseg_mm
from ovseg_mm.utils.errors import InputError, nearest
from ovseg_mm.zoo import zoo_models


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        'add',
        help='take the published file of a model that you have downloaded',
        description='Check that a file is the published one of a model, '
        'convert it into the cache, and use it from then on wherever the '
        'model is named. For files that no program can download, and for '
        'computers without a network.',
    )
    parser.add_argument(
        'name', metavar='NAME', help="model of 'python -m ovseg_mm models'"
    )
    parser.add_argument(
        'file', metavar='FILE', type=Path, help='file that was downloaded'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert the file into the cache."""
    models = zoo_models()
    if args.name not in models:
        raise InputError(
            f'{args.name}: there is no such model'
            f'{nearest(args.name, models)}; '
            "'python -m ovseg_mm models' lists them"
        )
    from ovseg_mm.zoo.store import add_checkpoint

    ovseg_mm.register()
    checkpoint = add_checkpoint(models[args.name], args.file)
    print(f'{args.name}: {checkpoint}')
    print(
        'use it: python -m ovseg_mm predict IMAGE --classes WORDS --model '
        f'{args.name}'
    )
    return 0
