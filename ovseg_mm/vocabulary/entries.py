# SPDX-License-Identifier: Apache-2.0
"""What is written for one class, and what is no class text at all."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ovseg_mm.utils.errors import InputError

# Files that words are read from.
WORD_FILES = (
    *('.json', '.txt', '.tsv', '.csv', '.yaml', '.yml'),
    *('.names', '.lst', '.list'),
)
# What else is a file and not a class, when a text ends so.
_OTHER_FILES = (
    *('.jsonl', '.xml', '.toml', '.ini', '.cfg', '.md', '.html', '.pdf'),
    *('.doc', '.docx', '.odt', '.ods', '.xls', '.xlsx', '.py', '.pkl'),
    *('.pickle', '.npy', '.npz', '.pt', '.pth', '.mat', '.zip', '.gz'),
    *('.safetensors', '.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff'),
    *('.webp', '.gif'),
)
ESCAPES = "write '\\,' '\\|' '\\;' '\\:' for a sign that belongs to the text"
# Not behind the backslash that makes them a part of the text. A comma
# between digits belongs to a number.
_SYNONYMS = re.compile(r'(?<!\\)(?:, |\s*\|\s*|,(?=[^\s\d]))')
_NARROW_COMMA = re.compile(r'(?<!\\),(?=[^\s\d])')
_CLASSES = re.compile(r'(?<!\\)[;\r\n]')
_ESCAPED = re.compile(r'\\([,|;:#=\[\]{}\\])')
_LIST = re.compile(r'\s*[\[{]|[^\[{]*(?<!\\)[\]}]\s*,?\s*$')
_INDEX = re.compile(r'\s*\d+\s*(?:[:=)]|,(?!\d)|\.\s)\s*\S')
_ROOTED = re.compile(r'(?:~\w*|\.{1,2})?/|[A-Za-z]:[/\\]|\\\\|[a-z]+://')


@dataclass(frozen=True)
class Entry:
    """One class of a list.

    Args:
        texts (tuple[str, ...]): The class text and its synonyms.
        name (str, optional): Name in tables and legends, if it is another than
            the text.
        colour (tuple[int, ...], optional): (red, green, blue) in [0, 255].
        index (int, optional): Label value that the list gives it.
    """

    texts: tuple[str, ...]
    name: str | None = None
    colour: tuple[int, ...] | None = None
    index: int | None = None


def split_synonyms(entry: str) -> tuple[str, ...]:
    r"""Texts of a class, which commas or ``'|'`` separate.

    >>> split_synonyms('sofa|couch, settee'), split_synonyms(r'salt\, pepper')
    (('sofa', 'couch', 'settee'), ('salt, pepper',))
    """
    return tuple(map(unescaped, _SYNONYMS.split(entry)))


def split_classes(text: str) -> list[str]:
    """Classes of a text, which ``';'`` or line ends separate."""
    parts = (part.strip() for part in _CLASSES.split(text))
    return [part for part in parts if part]


def unescaped(text: str) -> str:
    """A text without the backslashes before signs that belong to it."""
    return _ESCAPED.sub(r'\1', text)


def looks_like_file(text: str) -> bool:
    """Whether a text is a path: by its ending, its beginning, or on disk."""
    text = text.strip()
    suffix = Path(text).suffix.lower()
    if suffix in WORD_FILES + _OTHER_FILES or _ROOTED.match(text):
        return True
    return ('/' in text or suffix != '') and is_file(Path(text))


def is_file(path: Path) -> bool:
    """Whether there is such a file; a text may be too long for a name."""
    try:
        return path.is_file()
    except OSError:
        return False


def shortened(text: str) -> str:
    """A text in quotes for a message."""
    return repr(text) if len(text) <= 60 else f'{text[:57]!r}...'


def check_typed(texts: Sequence[str], source: str) -> None:
    """Refuse what somebody has written for a class and is none.

    Args:
        texts (Sequence[str]): What is written for each class, synonyms
            included.
        source (str): Where it is written, for messages.

    Raises:
        InputError: If one is a path, a list, an index with a text, or
            several classes.

    Warns:
        UserWarning: If one may be several classes, or is a bare number.
    """
    for index, text in enumerate(texts):
        problem = _problem(text)
        if problem:
            raise InputError(
                f'{source}: entry {index} (counting from 0) is '
                f'{shortened(text)}, {problem}'
            )
    if len(texts) == 1:
        joined = [
            text
            for text in texts
            if '|' not in text and len(split_synonyms(text)) > 1
        ]
    else:
        joined = [text for text in texts if _NARROW_COMMA.search(text)]
    if joined:
        names = ' and '.join(map(repr, split_synonyms(joined[0])))
        warnings.warn(
            f'{source}: {shortened(joined[0])} is read as one class with the '
            f"names {names}. Write '|' between synonyms, give classes as "
            f'entries of their own, and {ESCAPES}.',
            UserWarning,
            stacklevel=3,
        )
    numbers = [text for text in texts if text.strip().isdecimal()]
    if numbers:
        warnings.warn(
            f'{source}: {shortened(numbers[0])} is a number; a class text '
            'says what is seen, and label values follow from the order.',
            UserWarning,
            stacklevel=3,
        )


def _problem(text: str) -> str | None:
    if looks_like_file(text):
        return (
            'which looks like a file or an address; give the path of a word '
            f'file alone ({", ".join(WORD_FILES[:6])}), or write the class '
            'as it is spoken.'
        )
    if _LIST.match(text):
        return (
            'which looks like a part of a list; write class texts without '
            'brackets.'
        )
    if _INDEX.match(text):
        return (
            'which looks like a label value and a text; write the text '
            f'alone, since the order gives the value, or {ESCAPES}.'
        )
    if _CLASSES.search(text) or re.search(r'(?<!\\),$', text):
        return (
            'which looks like several classes; give each as an entry of its '
            f'own, or {ESCAPES}.'
        )
    if any(ord(sign) < 32 for sign in text):
        return 'which has control characters; remove them.'
    return None
