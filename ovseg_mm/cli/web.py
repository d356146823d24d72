# SPDX-License-Identifier: Apache-2.0
"""Command ``web``: a web page on which images are segmented."""

import argparse
import importlib.util

import ovseg_mm
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.speed_options import add_speed_options, speed_options
from ovseg_mm.zoo import add_model_arguments, model_of_arguments


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the parser of the command ``web``."""
    parser = subparsers.add_parser(
        'web',
        help='segment images with your own words in a browser',
        description='Serve a web page on which images are segmented with any '
        'class texts. Other computers can open it only with --host.',
    )
    add_model_arguments(parser)
    parser.add_argument(
        '--port',
        type=int,
        help='port of the page (default: the first free port from 7860 on)',
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen on; 0.0.0.0 lets other machines open the '
        'page (default: %(default)s)',
    )
    parser.add_argument(
        '--device',
        help='device such as cuda:0 (default: a GPU if there is one)',
    )
    add_speed_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve the web page until the user interrupts the command.

    Args:
        args (argparse.Namespace): Options of the command.

    Returns:
        int: Exit status 0.

    Raises:
        InputError: If Gradio is not installed, or the number of the port is
            out of range.
    """
    if importlib.util.find_spec('gradio') is None:
        raise InputError(
            'the web page needs Gradio; install it with: '
            "pip install 'ovseg_mm[web]'"
        )
    if args.port is not None and not 0 < args.port < 65536:
        raise InputError(f'--port {args.port} is not between 1 and 65535')
    source = model_of_arguments(args)
    ovseg_mm.register()
    from ovseg_mm.apis import OpenVocabInferencer
    from ovseg_mm.web import serve

    inferencer = OpenVocabInferencer(
        source, device=args.device, **speed_options(args)
    )
    try:
        serve(inferencer, source.name, args.host, args.port)
    except KeyboardInterrupt:
        pass
    return 0
