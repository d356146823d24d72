# SPDX-License-Identifier: Apache-2.0
"""Exceptions reported to the user as one line.

All other exceptions are bugs and keep their traceback.
"""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# Longest quote, word and message, in characters; longer ones are cut.
LONGEST_WORD = 300
LONGEST_MESSAGE = 2000
_LONG_WORDS = re.compile(
    rf"(?<!\w)'[^']{{{LONGEST_WORD},}}'(?!\w)"
    rf'|(?<!\w)"[^"]{{{LONGEST_WORD},}}"(?!\w)'
    rf'|\S{{{LONGEST_WORD},}}'
)
# Beginning of the message of an error that a worker process passed on.
_HANDED_ON = 'Caught '
# Parts of the messages of registries and Python about unknown names.
_CONFIG_ERRORS = ('is not in the', 'unexpected keyword argument')


def shortened(message: str) -> str:
    """Cut long quotes, long words and long lists out of a message.

    Beginning and end stay, because a message ends with the remedy.

    Args:
        message (str): Such as ``"'aaaa...' is not a file"``.

    Returns:
        str: At most about ``LONGEST_MESSAGE`` characters.
    """
    message = _LONG_WORDS.sub(lambda found: _cut(found[0], 80, 40), message)
    if len(message) > LONGEST_MESSAGE:
        message = _cut(message, 1200, 500)
    return message


def _cut(text: str, first: int, last: int) -> str:
    left_out = len(text) - first - last
    return f'{text[:first]}[... {left_out} characters ...]{text[-last:]}'


class InputError(ValueError):
    """Error that the user can correct: a bad file, option, setting or word.

    Args:
        message (str): One sentence: the file or key, the value found, the
            value expected, and what to do. Long quotes in it are cut.
    """

    def __init__(self, message: str = '') -> None:
        # A traceback of another process ends with the message itself.
        if not message.startswith(_HANDED_ON):
            message = shortened(message)
        super().__init__(message)


REPORTED_ERRORS = (InputError, OSError, ImportError)
"""Errors that a user can correct; all others are bugs."""


def error_message(error: Exception) -> str:
    """Message of an error, without the traceback of another process.

    Data loaders put the whole traceback of a worker into the message.

    Args:
        error (Exception): Error that was raised.

    Returns:
        str: The message; long quotes in it are cut.
    """
    text = str(error)
    if text.startswith(_HANDED_ON):
        text = text.rpartition(f'{type(error).__name__}: ')[2]
    return shortened(text.strip())


def report_error(error: Exception) -> int:
    """Print an error of the user's input as one line on stderr.

    Args:
        error (Exception): One of ``REPORTED_ERRORS``.

    Returns:
        int: Exit status 2.

    Raises:
        Exception: The error itself, if ``OVSEG_DEBUG`` is set.
    """
    if debugging():
        raise error
    print(f'error: {error_message(error)}', file=sys.stderr)
    return 2


@contextmanager
def report_errors() -> Iterator[None]:
    """End the process with :func:`report_error` on an input error.

    Raises:
        SystemExit: With status 2, on one of ``REPORTED_ERRORS``.
    """
    try:
        yield
    except REPORTED_ERRORS as error:
        sys.exit(report_error(error))


@contextmanager
def config_errors() -> Iterator[None]:
    """Turn errors of building a model or runner into input errors.

    Constructors of MMEngine, MMSegmentation and PyTorch raise ValueError for
    a bad value; registries and Python raise KeyError and TypeError for an
    unknown name.

    Raises:
        InputError: For such an error.
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
        raise InputError(f'the config does not work: {reason}') from error


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """Suggestion for a misspelt name, to be appended to a message.

    Args:
        name (str): The name found.
        names (Iterable[str]): The names known.
        cutoff (float): Least similarity of a suggestion, in [0, 1].

    Returns:
        str: Such as ``"; did you mean 'img_suffix'?"``; empty if no name is
        similar.
    """
    by_small = {known.lower(): known for known in sorted(names)}
    near = difflib.get_close_matches(name.lower(), by_small, 2, cutoff)
    found = ' or '.join(repr(by_small[small]) for small in near)
    return f'; did you mean {found}?' if found else ''


def debugging() -> bool:
    """Whether ``OVSEG_DEBUG`` is set, so that errors show a traceback."""
    return os.environ.get('OVSEG_DEBUG', '') not in ('', '0')


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--debug``, which sets ``OVSEG_DEBUG``.

    Processes started by the command inherit the variable.

    Args:
        parser (argparse.ArgumentParser): Parser of a command.
    """
    parser.add_argument(
        '--debug',
        nargs=0,
        action=_Debug,
        default=argparse.SUPPRESS,
        help='print the traceback of an error, as OVSEG_DEBUG=1 does',
    )


class _Debug(argparse.Action):
    def __call__(self, *args: object) -> None:
        os.environ['OVSEG_DEBUG'] = '1'
