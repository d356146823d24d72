# SPDX-License-Identifier: Apache-2.0
"""Command-line options that several tools share.

This module imports few other modules, so that ``-h`` answers quickly.
"""

import argparse
import os
from typing import Any


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of MMSegmentation that train.py and test.py have."""
    add_config_arguments(parser)
    add_debug_option(parser)
    parser.add_argument('--work-dir', help='folder for logs and results')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help="job launcher; 'pytorch' also works without a GPU, on CPUs",
    )
    # torch.distributed.launch adds this option in one of two spellings.
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=0,
        help=argparse.SUPPRESS,
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of scripts that only build and measure a model."""
    add_config_arguments(parser)
    add_debug_option(parser)
    parser.add_argument(
        '--shape',
        nargs=2,
        type=_pixels,
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the image after the test pipeline (default: size of a '
        'sliding window, test_cfg.crop_size of the config)',
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument ``config`` and the option ``--cfg-options``."""
    parser.add_argument(
        'config',
        help='config file, bare name of a shipped config, or name of a model '
        "that 'python -m ovseg_mm models' lists",
    )
    add_cfg_options(parser)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, settings that override the config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_KeyValues,
        metavar='KEY=VALUE',
        help='settings to override in the config, written as key=value; '
        'write a list as key="[a,b]"; if an entry contains a comma, enclose '
        'the entry in quotes: key="[\'a, b\',c]"',
    )


def add_speed_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--amp`` and ``--compile`` of scripts that predict."""
    parser.add_argument(
        '--amp',
        action='store_true',
        help='use mixed precision: float16 on GPUs, bfloat16 on CPUs',
    )
    add_compile_option(parser)


def add_compile_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--compile``, which compiles the image tower of CLIP."""
    parser.add_argument(
        '--compile',
        action='store_true',
        help="use torch.compile for the blocks of CLIP's image tower; the "
        'first batches take longer',
    )


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--debug``, which prints the traceback of an error."""
    parser.add_argument(
        '--debug',
        nargs=0,
        action=_Debug,
        default=argparse.SUPPRESS,
        help='print the traceback of an error; the environment variable '
        'OVSEG_DEBUG=1 has the same effect',
    )


class _Debug(argparse.Action):
    def __call__(self, *args: object) -> None:
        os.environ['OVSEG_DEBUG'] = '1'


class _KeyValues(argparse.Action):
    """Action of ``--cfg-options``: :class:`ovseg_mm.utils.options.KeyValues`.

    The class is imported only if the option is used, since the import is slow.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        from ovseg_mm.utils.options import KeyValues

        action = KeyValues(self.option_strings, self.dest)
        action(parser, namespace, values, option_string)


def _pixels(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a whole number above 0'
        )
    return int(text)
