# SPDX-License-Identifier: Apache-2.0
"""``python -m ovseg_mm COMMAND``."""

import argparse
import importlib
import sys

from ovseg_mm.errors import USER_ERRORS, sentence_of

COMMANDS = ('doctor', 'predict', 'evaluate', 'convert', 'models')


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Args:
        argv (list[str], optional): Arguments. None: the command line's.

    Returns:
        int: Exit status; 2 for bad input.
    """
    parser = argparse.ArgumentParser(
        prog='python -m ovseg_mm',
        description='Open-vocabulary semantic segmentation.',
    )
    parser.add_argument(
        '--debug', action='store_true', help='show where an error came from'
    )
    subparsers = parser.add_subparsers(
        title='commands', metavar='COMMAND', required=True
    )
    for command in COMMANDS:
        module = importlib.import_module(f'{__name__}.{command}')
        module.add_parser(subparsers)
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        parser.print_help()
        return 2
    args = parser.parse_args(argv)
    try:
        if args.run.__module__ != f'{__name__}.doctor':
            importlib.import_module('ovseg_mm').register()
        return args.run(args)
    except BrokenPipeError:  # the reader, such as head, has enough
        sys.stderr.close()
        return 0
    except USER_ERRORS as error:
        if args.debug:
            raise
        print(f'error: {sentence_of(error)}', file=sys.stderr)
        return 2
