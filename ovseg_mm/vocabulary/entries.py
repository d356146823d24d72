# SPDX-License-Identifier: Apache-2.0
"""Functions that split and check class texts."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ovseg_mm.utils.errors import InputError

# Suffixes of files that class texts are read from.
CLASS_FILE_SUFFIXES = (
    *('.json', '.txt', '.tsv', '.csv', '.yaml', '.yml'),
    *('.names', '.lst', '.list'),
)
# Other suffixes by which a file name is recognised.
_OTHER_FILES = (
    *('.jsonl', '.xml', '.toml', '.ini', '.cfg', '.md', '.html', '.pdf'),
    *('.doc', '.docx', '.odt', '.ods', '.xls', '.xlsx', '.py', '.pkl'),
    *('.pickle', '.npy', '.npz', '.pt', '.pth', '.mat', '.zip', '.gz'),
    *('.safetensors', '.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff'),
    *('.webp', '.gif'),
)
# Last part of messages about separators.
ESCAPES = (
    'if one of the signs , | ; : is part of the class text, write a backslash '
    'before it'
)
# A backslash before a separator makes it a part of the text. A comma
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
    """Class texts of one class, with optional name, colour and label.

    Attributes:
        texts (tuple[str, ...]): Main class text, then its synonyms.
        name (str, optional): Class name for tables and legends, if it differs
            from the main class text.
        colour (tuple[int, int, int], optional): Colour (red, green, blue) in
            [0, 255].
        index (int, optional): Label of the class, if the source contains
            labels.
    """

    texts: tuple[str, ...]
    name: str | None = None
    colour: tuple[int, int, int] | None = None
    index: int | None = None


def split_synonyms(entry: str) -> tuple[str, ...]:
    r"""Split the class texts of one class at commas and ``'|'``.

    >>> split_synonyms('sofa|couch, settee'), split_synonyms(r'salt\, pepper')
    (('sofa', 'couch', 'settee'), ('salt, pepper',))
    """
    return tuple(map(unescaped, _SYNONYMS.split(entry)))


def split_classes(text: str) -> list[str]:
    """Split a string into classes at ``';'`` and line ends."""
    parts = (part.strip() for part in _CLASSES.split(text))
    return [part for part in parts if part]


def unescaped(text: str) -> str:
    """Remove the backslash before each separator that is part of a text."""
    return _ESCAPED.sub(r'\1', text)


def looks_like_file(text: str) -> bool:
    """Whether a text looks like a path or URL, or a file has this path."""
    text = text.strip()
    suffix = Path(text).suffix.lower()
    if suffix in CLASS_FILE_SUFFIXES + _OTHER_FILES or _ROOTED.match(text):
        return True
    return ('/' in text or suffix != '') and is_file(Path(text))


def is_file(path: Path) -> bool:
    """Whether a path is a file; a path that is too long gives no error."""
    try:
        return path.is_file()
    except OSError:
        return False


def quoted(text: str) -> str:
    """Put a text in quotes for a message; long texts are shortened."""
    return repr(text) if len(text) <= 60 else f'{text[:57]!r}...'


def check_class_texts(texts: Sequence[str], source: str) -> None:
    """Check that each string is the class text of one class.

    Args:
        texts (Sequence[str]): One string per class, which may contain
            synonyms.
        source (str): File or list that contains the strings, for messages.

    Raises:
        InputError: If a string is a path, a part of a Python list that was
            split at its commas, such as ``"['cat'"``, or a label followed by
            a class text such as ``'0: cat'``; or if it contains several
            classes or control characters.

    Warns:
        UserWarning: If a string may contain several classes, or is a number.
    """
    for index, text in enumerate(texts):
        problem = _problem(text)
        if problem:
            raise InputError(
                f'{source}: entry {index} (counting from 0) is '
                f'{quoted(text)}, {problem}'
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
            f'{source}: {quoted(joined[0])} is read as one class with the '
            f"synonyms {names}. If this is right, write '|' between the "
            'synonyms; if these are different classes, write each as a '
            f'separate entry; {ESCAPES}',
            UserWarning,
            stacklevel=3,
        )
    numbers = [text for text in texts if text.strip().isdecimal()]
    if numbers:
        warnings.warn(
            f'{source}: {quoted(numbers[0])} is a number; write only class '
            'texts and no labels, since the order of the texts gives the '
            'labels',
            UserWarning,
            stacklevel=3,
        )


def _problem(text: str) -> str | None:
    if looks_like_file(text):
        return (
            'which looks like a file or an address; give either the path of '
            f'one file ({", ".join(CLASS_FILE_SUFFIXES[:6])}) or only class '
            'texts'
        )
    if _LIST.match(text):
        return (
            'which looks like a part of a list; write class texts without '
            'brackets'
        )
    if _INDEX.match(text):
        return (
            'which looks like a label and a class text; write only the class '
            f'text, since the order gives the label; {ESCAPES}'
        )
    if _CLASSES.search(text) or re.search(r'(?<!\\),$', text):
        return (
            'which looks like several classes; write each class as a '
            f'separate entry; {ESCAPES}'
        )
    if any(ord(sign) < 32 for sign in text):
        return 'which has control characters; remove them'
    return None
