# SPDX-License-Identifier: Apache-2.0
"""What is told in one sentence, and what is a bug."""

import argparse
import difflib
import os
import re
from collections.abc import Iterable

# Longest quote, word and message, in characters; longer ones are cut.
LONGEST_WORD = 300
LONGEST_MESSAGE = 2000
_LONG_WORDS = re.compile(
    rf"(?<!\w)'[^']{{{LONGEST_WORD},}}'(?!\w)"
    rf'|(?<!\w)"[^"]{{{LONGEST_WORD},}}"(?!\w)'
    rf'|\S{{{LONGEST_WORD},}}'
)
# Beginning of the message of an error that another process handed on.
_HANDED_ON = 'Caught '


def shortened(message: str) -> str:
    """Cut long quotes, long words and long lists out of a message.

    Beginning and end stay: the end of a message says what to do.

    Args:
        message (str): Such as ``"'aaaa...' is not a file"``.
    """
    message = _LONG_WORDS.sub(lambda found: _cut(found[0], 80, 40), message)
    if len(message) > LONGEST_MESSAGE:
        message = _cut(message, 1200, 500)
    return message


def _cut(text: str, first: int, last: int) -> str:
    left_out = len(text) - first - last
    return f'{text[:first]}[... {left_out} characters ...]{text[-last:]}'


class InputError(ValueError):
    """What was given does not work; the message says what to do.

    Args:
        message (str): One sentence; long quotes in it are cut.
    """

    def __init__(self, message: str = '') -> None:
        # A traceback of another process ends with the message proper.
        if not message.startswith(_HANDED_ON):
            message = shortened(message)
        super().__init__(message)


USER_ERRORS = (ValueError, OSError, ImportError)
"""What bad input raises before a run begins."""

RUN_ERRORS = (InputError, OSError)
"""What it raises later; any other error of a run shows its traceback."""


def error_message(error: Exception) -> str:
    """The message of an error, also of one that another process handed on.

    Data loaders put the whole traceback of a worker into the message.

    Args:
        error (Exception): What was raised.
    """
    text = str(error)
    if text.startswith(_HANDED_ON):
        text = text.rpartition(f'{type(error).__name__}: ')[2]
    return shortened(text.strip())


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """Question for a misspelt name, to be added to a message.

    Args:
        name (str): What was found.
        names (Iterable[str]): What is known.
        cutoff (float): How like it a name must be, in [0, 1].

    Returns:
        str: Such as ``"; did you mean 'img_suffix'?"``; empty if no name is
        near.
    """
    by_small = {known.lower(): known for known in sorted(names)}
    near = difflib.get_close_matches(name.lower(), by_small, 2, cutoff)
    found = ' or '.join(repr(by_small[small]) for small in near)
    return f'; did you mean {found}?' if found else ''


def debugging() -> bool:
    """Whether errors show where they came from: ``OVSEG_DEBUG`` is set."""
    return os.environ.get('OVSEG_DEBUG', '') not in ('', '0')


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--debug``, which sets ``OVSEG_DEBUG``.

    The processes that a command starts inherit it.
    """
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
