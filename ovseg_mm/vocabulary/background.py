# SPDX-License-Identifier: Apache-2.0
"""Background words: things in an image that are not classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from ovseg_mm.utils.errors import InputError, nearest

from .loading import load_vocabulary, shipped_vocabularies
from .vocabulary import Vocabulary

# Endings of names of COCO-Stuff that do not describe the thing.
_ENDINGS = ('-other', '-stuff')


def background_words(
    background: Vocabulary | str | Sequence[str] | Mapping[str, Any],
    vocabulary: Vocabulary,
) -> Vocabulary | None:
    """Vocabulary of the words whose pixels count as background.

    Names of COCO-Stuff that may mean a class are left out: names whose words
    all occur in a class text, or that contain all words of a class text. For
    example, the class ``'red car'`` removes the name ``'car'``.

    Args:
        background (Vocabulary | str | Sequence[str] | Mapping): ``'coco'``
            for the 171 names of COCO-Stuff; or words, in any form that
            :func:`load_vocabulary` takes.
        vocabulary (Vocabulary): The classes.

    Returns:
        Vocabulary | None: The background words; None if all names of
        COCO-Stuff are left out.

    Raises:
        FileNotFoundError: If a string is neither a shipped key nor a file.
        InputError: If a string is a misspelt option, or words are malformed.
    """
    if isinstance(background, str):
        known = ('none', 'threshold', 'coco')
        near = nearest(background, known)
        if near and background not in (*known, *shipped_vocabularies()):
            raise InputError(
                f'background={background!r} is not an option{near} To use '
                f'this word, give a list: background=[{background!r}]'
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
    """Name of COCO-Stuff in plain words: ``'sky'`` for ``'sky-other'``."""
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name.replace('-', ' ')


def _alike(one: set[str], other: set[str]) -> bool:
    return one <= other or other <= one


def _words(text: str) -> set[str]:
    """Words of a text, without ``'s'`` at the ends of words (plurals)."""
    words = text.lower().replace('-', ' ').split()
    return {word.rstrip('s') for word in words}
