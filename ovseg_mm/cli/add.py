# SPDX-License-Identifier: Apache-2.0
"""``python -m ovseg_mm add``: a downloaded file for a named model."""

import argparse
from pathlib import Path

import ovseg_mm
from ovseg_mm.zoo import find_model


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
    model = find_model(args.name)
    from ovseg_mm.zoo.store import add_checkpoint

    ovseg_mm.register()
    checkpoint = add_checkpoint(model, args.file)
    print(f'{args.name}: {checkpoint}')
    print(
        'use it: python -m ovseg_mm predict IMAGE --classes WORDS --model '
        f'{args.name}'
    )
    return 0
