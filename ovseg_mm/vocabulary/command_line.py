# SPDX-License-Identifier: Apache-2.0
"""Parser of class texts in the arguments of a command."""

import ast
import re
import warnings
from collections.abc import Sequence
from difflib import get_close_matches

from ovseg_mm.utils.errors import InputError

from .entries import looks_like_file, quoted, split_classes
from .loading import shipped_vocabularies


def parse_classes(words: Sequence[str]) -> str | list[str]:
    r"""Convert the arguments of ``--classes`` for :func:`load_vocabulary`.

    Args:
        words (Sequence[str]): Arguments of ``--classes``: one key of a
            shipped vocabulary, one path of a file, or class texts. Class
            texts are separate arguments, or are separated by ``';'`` or line
            ends. A comma within a class text is written ``'\,'``.

    Returns:
        str | list[str]: The key or path unchanged, or a list of class texts.

    Raises:
        InputError: If class texts are separated by commas, or an argument is
            an invalid Python list.
    """
    if len(words) == 1:
        (word,) = words
        if word in shipped_vocabularies() or looks_like_file(word):
            return word
        if word.lstrip().startswith('['):
            return _list(word)
        near = get_close_matches(word.lower(), shipped_vocabularies(), 1, 0.8)
        if near:
            warnings.warn(
                f'--classes {word!r} is read as a class text; did you mean '
                f'the shipped vocabulary {near[0]!r}?',
                UserWarning,
                stacklevel=2,
            )
    classes = [part for word in words for part in split_classes(word)]
    for part in classes:
        if re.search(r'(?<!\\),', part):
            raise InputError(
                f'--classes {quoted(part)} has a comma; separate classes '
                'with ";" and synonyms of one class with "|", and write '
                '"\\," for a comma that is part of a class text'
            )
    return classes


def _list(word: str) -> list[str]:
    try:
        found = ast.literal_eval(word.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise InputError(
            f'--classes {quoted(word)} looks like a list, but is not a '
            'valid list; separate classes with ";", without brackets'
        ) from error
    return list(found)
