# SPDX-License-Identifier: Apache-2.0
"""Command line ``python -m ovseg_mm COMMAND``."""

import argparse
import importlib
import sys
from typing import NoReturn

from ovseg_mm.utils.errors import (
    REPORTED_ERRORS,
    add_debug_option,
    report_error,
    shortened,
)
from ovseg_mm.utils.memory import keep_freed_memory

COMMANDS = (
    'doctor',
    'predict',
    'evaluate',
    'convert',
    'export',
    'models',
    'add',
    'web',
)


def main(argv: list[str] | None = None) -> int:
    """Run the command that the arguments name.

    Args:
        argv (list[str], optional): Arguments. None: ``sys.argv``, without
            the name of the program.

    Returns:
        int: Exit status of the command; 2 for bad input, 130 if interrupted.
    """
    parser = _Parser(
        prog='python -m ovseg_mm',
        description='Open-vocabulary semantic segmentation.',
    )
    add_debug_option(parser)
    subparsers = parser.add_subparsers(
        title='commands', metavar='COMMAND', required=True
    )
    for command in COMMANDS:
        module = importlib.import_module(f'{__name__}.{command}')
        module.add_parser(subparsers)
        add_debug_option(subparsers.choices[command])
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        parser.print_help()
        return 2
    args = parser.parse_args(argv)
    keep_freed_memory()
    try:
        # Commands check their arguments before they import models and
        # register them, because these imports take seconds.
        return args.run(args)
    except BrokenPipeError:  # the reader of a pipe, such as head, has ended
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except REPORTED_ERRORS as error:
        return report_error(error)


class _Parser(argparse.ArgumentParser):
    """Parser whose error messages shorten long arguments."""

    def error(self, message: str) -> NoReturn:
        super().error(shortened(message))
