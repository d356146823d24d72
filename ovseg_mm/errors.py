# SPDX-License-Identifier: Apache-2.0
"""What is told in one sentence, and what is a bug."""


class InputError(ValueError):
    """What was given does not work; the message says what to do."""


USER_ERRORS = (ValueError, OSError, ImportError)
"""What bad input raises before a run begins."""

RUN_ERRORS = (InputError, OSError)
"""What it raises later; any other error of a run shows its traceback."""


def sentence_of(error: Exception) -> str:
    """The message of an error, also of one that another process handed on.

    Data loaders put the whole traceback of a worker into the message.

    Args:
        error (Exception): What was raised.
    """
    text = str(error)
    if text.startswith('Caught '):
        text = text.rpartition(f'{type(error).__name__}: ')[2]
    return text.strip()
