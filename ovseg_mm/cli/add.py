# SPDX-License-Identifier: Apache-2.0
"""Command ``add``: convert a downloaded weight file of a published model."""

import argparse
from pathlib import Path

import ovseg_mm
from ovseg_mm.zoo import find_model


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the parser of the command ``add``."""
    parser = subparsers.add_parser(
        'add',
        help='add a weight file that you have downloaded for a model',
        description='Check that FILE contains the published weights of the '
        'model NAME, and convert it into the cache, where all commands find '
        'the weights. Use this command for files that must be downloaded by '
        'hand, and on computers without a network.',
    )
    parser.add_argument(
        'name',
        metavar='NAME',
        help="model that 'python -m ovseg_mm models' lists",
    )
    parser.add_argument(
        'file', metavar='FILE', type=Path, help='downloaded file'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check and convert a downloaded file; print the path of the result."""
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
