# SPDX-License-Identifier: Apache-2.0
"""Functions that read classes from rows of tables, and from dicts."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ovseg_mm.utils.errors import InputError

from .entries import Entry, check_class_texts, split_synonyms, unescaped

_TEXTS = ('class_texts', 'class_text', 'texts', 'text', 'prompt', 'words')
_NAMES = (
    *('readable', 'label_names', 'label_name', 'name', 'names'),
    *('class_name', 'class_names', 'classname', 'class', 'classes'),
    *('category_name', 'category', 'categories', 'label', 'labels'),
)
_SYNONYMS = ('synonyms', 'synonym', 'aliases', 'alias')
_INDICES = (
    *('id', 'idx', 'index', 'value', 'label_value', 'label_id', 'class_id'),
    *('category_id', 'train_id', 'trainid', 'labelid', 'classid', 'no'),
    *('number', 'key', '#', 'label', 'class', 'category'),
)
_Split = Callable[[str], tuple[str, ...]]
_COLOURS = ('color', 'colour', 'rgb', 'hex')
_CHANNELS = (('r', 'g', 'b'), ('red', 'green', 'blue'))
HEADINGS = frozenset(
    (*_TEXTS, *_NAMES, *_SYNONYMS, *_INDICES, *_COLOURS) + sum(_CHANNELS, ())
)
# A first line with only one of these words is a heading. The word `text` is
# left out, because it may be a class.
_LONE_HEADINGS = frozenset(_NAMES) - {'readable'} | set(_TEXTS[:2])


def entries_of_table(
    lines: Sequence[str], suffix: str, path: Path
) -> list[Entry]:
    """Read the classes of a table with one class per row.

    Args:
        lines (Sequence[str]): Lines of the file without blank lines.
        suffix (str): Suffix of the file. With ``'.csv'``, cells are
            separated by commas, and synonyms by ``'|'`` or ``';'``. With
            other suffixes, cells are separated by tabs, and synonyms by
            ``', '`` or ``'|'``.
        path (Path): The file, for messages.

    Returns:
        list[Entry]: One entry per row, without the heading.

    Raises:
        InputError: If the column of class texts cannot be found, a row has
            more cells than the heading, or a cell is not a class text.
    """
    comma = suffix == '.csv'
    rows = _rows(lines, comma)
    if not rows:
        return []
    split = _split_cell if comma else split_synonyms
    if _is_heading(rows[0]):
        heads = [_normal(cell) for cell in rows[0]]
        longer = [row for row in rows if len(row) > len(heads)]
        if longer:
            raise InputError(
                f'{path}: the row {longer[0]!r} has {len(longer[0])} cells, '
                f'but the heading has {len(heads)}; if a class text contains '
                'a comma, enclose the whole text in double quotes; write '
                "'|' between synonyms"
            )
        records = [dict(zip(heads, row)) for row in rows[1:]]
        return entries_of_records(records, path, split)
    if len(rows) == 1 and len(rows[0]) > 1 and comma:
        rows = [[cell] for cell in rows[0]]
    return _without_heading(rows, comma, split, path)


def entries_of_records(
    records: Sequence[Mapping[str, Any]],
    path: Path,
    split: _Split = split_synonyms,
) -> list[Entry]:
    """Read classes from dicts such as ``dict(name='cat', id=3)``.

    Args:
        records (Sequence[Mapping]): One dict per class, with a name or class
            texts. Synonyms, a label and a colour are optional.
        path (Path): File that contains the dicts, for messages.
        split (Callable): Function that splits a string into a class text and
            its synonyms.

    Returns:
        list[Entry]: One entry per dict.

    Raises:
        InputError: If a dict has no class text, or :func:`check_class_texts`
            finds that a string is not a class text.
    """
    records = [
        {_normal(key): value for key, value in record.items()}
        for record in records
    ]
    entries = []
    for number, record in enumerate(records):
        texts = _first(record, (*_TEXTS, *_NAMES))
        if texts is None:
            raise InputError(
                f'{path}: entry {number} (counting from 0) has no name; its '
                f"keys are {', '.join(record)}. Use the key or heading 'name' "
                'for the class text'
            )
        name = _first(record, _NAMES) if set(_TEXTS) & set(record) else None
        entries.append(
            Entry(
                texts=_texts(texts, record, split),
                name=name if isinstance(name, str) and name else None,
                colour=colour_of(record),
                index=_index(record),
            )
        )
    check_class_texts([_first_text(entry) for entry in entries], str(path))
    return entries


def _rows(lines: Sequence[str], comma: bool) -> list[list[str]]:
    """Split lines into cells, without empty columns at the end."""
    tables = [
        list(csv.reader(lines, delimiter=delimiter, skipinitialspace=comma))
        for delimiter in (',;\t' if comma else '\t')
    ]
    rows = next((rows for rows in tables if _is_regular(rows)), tables[0])
    width = max(map(len, rows), default=0)
    while width > 1 and not any(
        row[width - 1].strip() for row in rows if len(row) >= width
    ):
        width -= 1
    return [row[:width] for row in rows]


def _is_regular(rows: Sequence[Sequence[str]]) -> bool:
    """Whether all rows have the same number of cells, at least two."""
    return len({len(row) for row in rows}) == 1 and len(rows[0]) > 1


def _is_heading(row: Sequence[str]) -> bool:
    heads = [_normal(cell) for cell in row]
    if len(heads) == 1:
        return heads[0] in _LONE_HEADINGS
    known = HEADINGS.intersection(heads)
    return not known.isdisjoint(_LONE_HEADINGS) or (
        len(known) > 1 and 'text' in known
    )


def _without_heading(
    rows: list[list[str]], comma: bool, split: _Split, path: Path
) -> list[Entry]:
    columns = list(zip_longest(*rows, fillvalue=''))
    colours = [c for c in columns if all(map(_is_colour, c))]
    columns = [c for c in columns if c not in colours]
    texts = [c for c in columns if not all(map(_is_number, c))]
    numbers = [c for c in columns if all(map(_is_number, c))]
    keys = {
        0: (),
        1: ('id',),
        3: _CHANNELS[0],
        4: ('id', *_CHANNELS[0]),
    }
    if not texts:
        texts, numbers = numbers[:1], numbers[1:]
    named = ('name',) if comma else ('text', 'name')
    if (
        not 0 < len(texts) <= len(named)
        or len(numbers) not in keys
        or len(colours) > 1
    ):
        raise InputError(
            f'{path} has rows such as {rows[0]!r}, without a heading for the '
            "column of class texts. Add a first line with the heading 'name' "
            "above the class texts; optional headings are 'id', 'synonyms' "
            "and 'color'. If a class text contains a comma, enclose the whole "
            "text in double quotes; write '|' between synonyms"
        )
    named = named if len(texts) == len(named) else ('name',)
    heads = (*named, *keys[len(numbers)], 'color')
    records = [
        dict(zip(heads, row)) for row in zip(*texts, *numbers, *colours)
    ]
    return entries_of_records(records, path, split)


def _texts(
    texts: Any, record: Mapping[str, Any], split: _Split
) -> tuple[str, ...]:
    parts = list(texts) if isinstance(texts, list) else list(split(str(texts)))
    more = _first(record, _SYNONYMS)
    if more is not None:
        more = more if isinstance(more, list) else split(str(more))
        parts += [text for text in map(str, more) if text not in parts]
    if not isinstance(texts, list) and len(parts) == 1:
        return tuple(parts)
    return tuple(part for part in map(str, parts) if part.strip()) or ('',)


def _split_cell(cell: str) -> tuple[str, ...]:
    """Split a cell into class texts at ``'|'`` and ``';'``, not at commas."""
    parts = re.split(r'(?<!\\)[|;]', cell)
    return tuple(unescaped(part.strip()) for part in parts)


def _first(record: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Get the first list or string of a record under one of ``keys``.

    Args:
        record (Mapping[str, Any]): Dict of one class.
        keys (Sequence[str]): Keys to try, in this order.

    Returns:
        Any: The list or string; None if there is none. A string of digits
        under a key of ``_INDICES`` is a label, so it is skipped.
    """
    for key in keys:
        value = record.get(key)
        if isinstance(value, list) or (
            isinstance(value, str)
            and not (key in _INDICES and _is_number(value))
        ):
            return value
    return None


def _index(record: Mapping[str, Any]) -> int | None:
    for key in _INDICES:
        if key in record and _is_number(str(record[key])):
            return int(record[key])
    return None


def colour_of(record: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Get the colour of a class.

    Args:
        record (Mapping[str, Any]): Dict of the class. A colour is written as
            three numbers in [0, 255] or as ``'#rrggbb'``.

    Returns:
        tuple[int, int, int] | None: Colour (red, green, blue); None if the
        dict has no colour.
    """
    for keys in _CHANNELS:
        if all(_is_number(str(record.get(key, ''))) for key in keys):
            return _as_triple([record[key] for key in keys])
    value = next((record[key] for key in _COLOURS if record.get(key)), None)
    if isinstance(value, str):
        digits = re.fullmatch(r'\s*#?([0-9a-fA-F]{6})\s*', value)
        if digits:
            return _as_triple(bytes.fromhex(digits[1]))
        value = re.findall(r'\d+', value)
    if isinstance(value, list) and len(value) >= 3:
        if all(_is_number(str(shade)) for shade in value[:3]):
            return _as_triple(value)
    return None


def _as_triple(shades: Sequence) -> tuple[int, int, int]:
    red, green, blue = map(int, shades[:3])
    return red, green, blue


def _first_text(entry: Entry) -> str:
    # The text is split already, so its commas do not separate synonyms.
    return entry.texts[0].replace(',', '\\,')


def _normal(head: Any) -> str:
    return re.sub(r'[\s-]+', '_', str(head).strip().lower())


def _is_colour(text: str) -> bool:
    """Whether a cell contains three numbers, such as ``'64 128 64'``."""
    return re.fullmatch(r'\s*\d+[ ,]+\d+[ ,]+\d+\s*', text) is not None


def _is_number(text: str) -> bool:
    return text.strip().isdecimal()
