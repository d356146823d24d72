# SPDX-License-Identifier: Apache-2.0
"""Background words: names of things that are not among the classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from ovseg_mm.utils.errors import InputError, nearest

from .loading import load_vocabulary, shipped_vocabularies
from .vocabulary import Vocabulary

# Endings of COCO-Stuff names that are not part of the word.
_ENDINGS = ('-other', '-stuff')


def background_words(
    background: Vocabulary | str | Sequence[str] | Mapping[str, Any],
    vocabulary: Vocabulary,
) -> Vocabulary | None:
    """Build a vocabulary of words whose pixels count as background.

    With ``'coco'``, a name of COCO-Stuff is left out if it may mean one of
    the classes. It may mean a class if all its words occur in a class text,
    or if it contains all words of a class text. For example, the name
    ``'car'`` is left out for the class ``'red car'``.

    Args:
        background (Vocabulary | str | Sequence[str] | Mapping): ``'coco'``:
            the 171 names of COCO-Stuff. All other values are words in a form
            that :func:`load_vocabulary` takes.
        vocabulary (Vocabulary): Classes to segment.

    Returns:
        Vocabulary | None: The background words; None if all names of
        COCO-Stuff are left out.

    Raises:
        FileNotFoundError: If a string is neither a shipped key nor a file.
        InputError: If a string is a misspelt ``'none'``, ``'threshold'`` or
            ``'coco'``, or if a word is malformed.
    """
    if isinstance(background, str):
        known = ('none', 'threshold', 'coco')
        near = nearest(background, known)
        if near and background not in (*known, *shipped_vocabularies()):
            raise InputError(
                f'background={background!r} is not an option{near} To use '
                'it as a background word, give a list: '
                f'background=[{background!r}]'
            )
    words = load_vocabulary(background)
    if background != 'coco':
        return words
    own = [_words(text) for entry in vocabulary.class_texts for text in entry]
    left = [
        name
        for name in map(_plain, words.names)
        if not any(_alike(_words(name), mine) for mine in own)
    ]
    return load_vocabulary(left) if left else None


def _plain(name: str) -> str:
    """Convert a COCO-Stuff name to words: ``'sky-other'`` to ``'sky'``."""
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name.replace('-', ' ')


def _alike(one: set[str], other: set[str]) -> bool:
    return one <= other or other <= one


def _words(text: str) -> set[str]:
    """Split a text into words, without the plural ``'s'`` at their ends."""
    words = text.lower().replace('-', ' ').split()
    return {word.rstrip('s') for word in words}
