# SPDX-License-Identifier: Apache-2.0
"""Background words: things in the image that are not asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from ovseg_mm.utils.errors import InputError, nearest

from .loading import load_vocabulary, shipped_vocabularies
from .vocabulary import Vocabulary

# Endings of COCO-Stuff's names that do not describe the thing.
_ENDINGS = ('-other', '-stuff')


def background_words(
    background: Vocabulary | str | Sequence[str] | Mapping[str, Any],
    vocabulary: Vocabulary,
) -> Vocabulary | None:
    """Words that take pixels away from the words of a vocabulary.

    Args:
        background (Vocabulary | str | Sequence[str] | Mapping): ``'coco'``:
            the 171 names of COCO-Stuff without those that mean a class of
            the vocabulary, which is so if all words of one are words of the
            other: the class ``'red car'`` removes the name ``'car'``.
            Otherwise what :func:`load_vocabulary` takes.
        vocabulary (Vocabulary): The words that are asked for.

    Returns:
        Vocabulary | None: The words; None if all of COCO-Stuff's are left
        out.

    Raises:
        FileNotFoundError: If a string is not a shipped key or a file.
        InputError: If a string is a misspelt option, or words are malformed.
    """
    if isinstance(background, str):
        known = ('none', 'threshold', 'coco')
        near = nearest(background, known)
        if near and background not in (*known, *shipped_vocabularies()):
            raise InputError(
                f'background={background!r} is not known{near} For words '
                f'give a list: background=[{background!r}]'
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
    """A name of COCO-Stuff in plain words: wall-brick, sky-other."""
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name.replace('-', ' ')


def _alike(one: set[str], other: set[str]) -> bool:
    return one <= other or other <= one


def _words(text: str) -> set[str]:
    """Words of a text in the singular: an s at the end is removed."""
    words = text.lower().replace('-', ' ').split()
    return {word.rstrip('s') for word in words}
