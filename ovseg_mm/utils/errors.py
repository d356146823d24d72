# SPDX-License-Identifier: Apache-2.0
"""Errors that the user can correct; commands print them as one line.

The types of these errors are in :data:`REPORTED_ERRORS`. Exceptions of other
types are bugs, so commands print their traceback.
"""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# Largest numbers of characters of a quoted text or word, and of a message.
# Longer ones are cut.
LONGEST_WORD = 300
LONGEST_MESSAGE = 2000
_LONG_WORDS = re.compile(
    rf"(?<!\w)'[^']{{{LONGEST_WORD},}}'(?!\w)"
    rf'|(?<!\w)"[^"]{{{LONGEST_WORD},}}"(?!\w)'
    rf'|\S{{{LONGEST_WORD},}}'
)
# Beginning of the message of an error that a worker process has raised.
_HANDED_ON = 'Caught '
# Parts of messages of MMEngine and Python about unknown names.
_CONFIG_ERRORS = ('is not in the', 'unexpected keyword argument')


def shortened(message: str) -> str:
    """Shorten long quoted texts and long words in a message.

    If the message is still too long, it is shortened too. All texts are cut
    in the middle, because the end of a message tells what to do.

    Args:
        message (str): Message of an error.

    Returns:
        str: Message of at most about ``LONGEST_MESSAGE`` characters.
    """
    message = _LONG_WORDS.sub(lambda found: _cut(found[0], 80, 40), message)
    if len(message) > LONGEST_MESSAGE:
        message = _cut(message, 1200, 500)
    return message


def _cut(text: str, first: int, last: int) -> str:
    left_out = len(text) - first - last
    return f'{text[:first]}[... {left_out} characters ...]{text[-last:]}'


class InputError(ValueError):
    """Error that the user can correct, such as a wrong file or setting.

    Args:
        message (str): One sentence that names the file or key, the value
            found, the value expected, and what to do. Long messages are
            shortened by :func:`shortened`.
    """

    def __init__(self, message: str = '') -> None:
        # A worker's traceback has its message at the end; cut it later.
        if not message.startswith(_HANDED_ON):
            message = shortened(message)
        super().__init__(message)


REPORTED_ERRORS = (InputError, OSError, ImportError)
"""Types of errors that a user can correct; other exceptions are bugs."""


def error_message(error: Exception) -> str:
    """Get the message of an error, without the traceback of a worker.

    If a worker process of a data loader fails, PyTorch writes the whole
    traceback of the worker into the message.

    Args:
        error (Exception): Error that was raised.

    Returns:
        str: The message, shortened by :func:`shortened`.
    """
    text = str(error)
    if text.startswith(_HANDED_ON):
        text = text.rpartition(f'{type(error).__name__}: ')[2]
    return shortened(text.strip())


def report_error(error: Exception) -> int:
    """Print an error as one line on stderr, and return the exit status.

    Args:
        error (Exception): One of ``REPORTED_ERRORS``.

    Returns:
        int: Exit status 2.

    Raises:
        Exception: ``error`` itself, if ``OVSEG_DEBUG`` is set.
    """
    if debugging():
        raise error
    print(f'error: {error_message(error)}', file=sys.stderr)
    return 2


@contextmanager
def report_errors() -> Iterator[None]:
    """Context manager that prints errors as one line and ends the process.

    Only errors of the types in ``REPORTED_ERRORS`` are printed this way. All
    other exceptions of the code in the ``with`` block pass unchanged.

    Raises:
        SystemExit: With status 2, if the code raises one of
            ``REPORTED_ERRORS``.
    """
    try:
        yield
    except REPORTED_ERRORS as error:
        sys.exit(report_error(error))


@contextmanager
def config_errors() -> Iterator[None]:
    """Context manager that turns errors of a wrong config into ``InputError``.

    The code in the ``with`` block builds a model or a runner from a config.
    MMEngine, MMSegmentation and PyTorch raise ``ValueError`` for a wrong value
    in the config, and ``KeyError`` or ``TypeError`` for an unknown name.

    Raises:
        InputError: If the code raises ``ValueError``, or if it raises
            ``KeyError`` or ``TypeError`` because of an unknown name.
    """
    try:
        yield
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        reason = str(error.args[0]) if error.args else ''
        if not isinstance(error, ValueError) and not any(
            words in reason for words in _CONFIG_ERRORS
        ):
            raise
        raise InputError(
            f'a setting of the config is wrong; correct it: {reason}'
        ) from error


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """Suggest known names that resemble a misspelt name.

    Args:
        name (str): Misspelt name.
        names (Iterable[str]): Known names.
        cutoff (float): Minimum similarity of a suggestion, in [0, 1].

    Returns:
        str: Question to append to a message, such as
        ``"; did you mean 'img_suffix'?"``. Empty if no name is similar.
    """
    by_small = {known.lower(): known for known in sorted(names)}
    near = difflib.get_close_matches(name.lower(), by_small, 2, cutoff)
    found = ' or '.join(repr(by_small[small]) for small in near)
    return f'; did you mean {found}?' if found else ''


def debugging() -> bool:
    """Whether tracebacks are shown, because ``OVSEG_DEBUG`` is set."""
    return os.environ.get('OVSEG_DEBUG', '') not in ('', '0')


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--debug``, which shows tracebacks of errors.

    The option sets the environment variable ``OVSEG_DEBUG``, so that child
    processes show tracebacks too.

    Args:
        parser (argparse.ArgumentParser): Parser of a command.
    """
    parser.add_argument(
        '--debug',
        nargs=0,
        action=_Debug,
        default=argparse.SUPPRESS,
        help='print the traceback of an error; OVSEG_DEBUG=1 does the same',
    )


class _Debug(argparse.Action):
    def __call__(self, *args: object) -> None:
        os.environ['OVSEG_DEBUG'] = '1'
