# SPDX-License-Identifier: Apache-2.0
"""Options of the tools; imports little, so that ``-h`` is fast."""

import argparse
import os
from typing import Any


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add MMSegmentation's options that both scripts have."""
    add_config_arguments(parser)
    add_debug_option(parser)
    parser.add_argument('--work-dir', help='folder for logs and results')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher; pytorch runs on CPUs where there is no GPU',
    )
    # torch.distributed.launch adds this, in one spelling or the other.
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=0,
        help=argparse.SUPPRESS,
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of scripts that only build a model."""
    add_config_arguments(parser)
    add_debug_option(parser)
    parser.add_argument(
        '--shape',
        nargs=2,
        type=_pixels,
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the image as it leaves the pipeline; the size of a '
        'window without it',
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the config and the settings that override its own."""
    parser.add_argument(
        'config',
        help='config file, bare name of a shipped one, or name of a model '
        "('python -m ovseg_mm models')",
    )
    add_cfg_options(parser)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add the settings that override those of the config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_KeyValues,
        metavar='KEY=VALUE',
        help='settings to override in the config, as key=value; lists as '
        'key="[a,b]", texts with commas in quotes: key="[\'a, b\',c]"',
    )


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--debug``, as ``ovseg_mm.utils.errors.add_debug_option`` does."""
    parser.add_argument(
        '--debug',
        nargs=0,
        action=_Debug,
        default=argparse.SUPPRESS,
        help='show where an error came from, as OVSEG_DEBUG=1 does',
    )


class _Debug(argparse.Action):
    def __call__(self, *args: object) -> None:
        os.environ['OVSEG_DEBUG'] = '1'


class _KeyValues(argparse.Action):
    """``ovseg_mm.utils.options.KeyValues``, imported when there are values."""

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
