# SPDX-License-Identifier: Apache-2.0
"""Functions that read class texts from files of several formats."""

import ast
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ovseg_mm.utils.errors import InputError

from .class_text_tables import (
    HEADINGS,
    colour_of,
    entries_of_records,
    entries_of_table,
)
from .entries import (
    CLASS_FILE_SUFFIXES,
    Entry,
    check_class_texts,
    split_classes,
    split_synonyms,
)

# Keys under which a dict in a JSON or YAML file may have the list of classes.
_LIST_KEYS = (
    *('categories', 'classes', 'names', 'labels', 'class_names'),
    *('class_texts', 'id2label', 'label2id', 'words'),
)
_INDEXED = re.compile(
    r'\s*(\d+)\s*(?:[:=)\t;]|,(?!\d)|\.\s|\s-\s|\s)\s*(\S.*)'
)
_INDEX_LAST = re.compile(r'(\S.*?)\s*(?:[:=,\t;]|\s)\s*(\d+)\s*$')
_BULLET = re.compile(r'\s*[-*\u2022]\s+(?P<text>\S.*)')
_QUOTES = re.compile(r'\s*(["\'])(?P<text>.*)\1\s*')
# A line of CVAT's label map: name:red,green,blue:parts:actions.
_CVAT = re.compile(r'([^:]+):(\d+),(\d+),(\d+):[^:]*:[^:]*$')


def read_class_file(path: Path) -> list[Entry] | Mapping[str, Any]:
    """Read the classes of a file.

    Args:
        path (Path): File with a suffix of ``CLASS_FILE_SUFFIXES``, in upper
            or lower case.

    Returns:
        list[Entry] | Mapping: The classes in label order. If the file
        contains a dict with the key ``class_texts``, this dict is returned;
        :func:`load_vocabulary` reads it.

    Raises:
        InputError: If the suffix is not in ``CLASS_FILE_SUFFIXES``, or the
            content is malformed.
        OSError: If the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in CLASS_FILE_SUFFIXES:
        raise InputError(
            f'{path} has the suffix {suffix!r}, which is unknown for class '
            'texts; save them in a file with one of the suffixes '
            f'{", ".join(CLASS_FILE_SUFFIXES[:6])}'
        )
    content = read_text(path)
    if suffix in ('.yaml', '.yml'):
        return _from_yaml(content, path)
    if suffix == '.json' or re.match(r'\s*[\[{]', content):
        return _from_json(content, path)
    lines = _lines(content)
    tables = suffix in ('.csv', '.tsv')
    if tables or (lines and all('\t' in line for line in lines)):
        return _ordered(entries_of_table(lines, suffix, path), path)
    return _ordered(_from_lines(lines, path), path)


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, UTF-16 or Windows-1252.

    Windows-1252 gives a warning, because the encoding is only guessed.

    Args:
        path (Path): The file.

    Returns:
        str: Content of the file, without byte-order marks.

    Raises:
        InputError: If the file is not a text file, or has another encoding.
        OSError: If the file cannot be read.
    """
    data = path.read_bytes()
    encoding = 'utf-8-sig'
    if data.startswith((b'\xff\xfe', b'\xfe\xff')):
        encoding = 'utf-16'
    elif b'\0' in data:
        # UTF-16 without a byte-order mark: every second byte of English is 0.
        big = data[::2].count(0) > data[1::2].count(0)
        encoding = 'utf-16-be' if big else 'utf-16-le'
    try:
        content = data.decode(encoding)
    except UnicodeDecodeError as error:
        content = _from_windows(data, path, error)
    if '\0' in content:
        raise InputError(f'{path} is not a text file; save it as UTF-8')
    return content.replace('\ufeff', '')


def _from_windows(data: bytes, path: Path, error: UnicodeDecodeError) -> str:
    try:
        content = data.decode('cp1252')
    except UnicodeDecodeError:
        content = ''
    foreign = [
        line for line in content.splitlines() if not line.strip().isascii()
    ]
    # Western languages have few letters beyond ASCII; if most letters are
    # not ASCII, the file has another code page.
    if not foreign or any(
        sum(sign > '\x7f' for sign in line) * 2 > len(line.strip())
        for line in foreign
    ):
        raise InputError(
            f'{path} is not a UTF-8 text file ({error.reason} at byte '
            f'{error.start}); save it as UTF-8'
        ) from error
    warnings.warn(
        f'{path} is not UTF-8, so it is read as Windows-1252; if a text such '
        f'as {foreign[0].strip()!r} is wrong, save the file as UTF-8',
        UserWarning,
        stacklevel=2,
    )
    return content


def _lines(content: str) -> list[str]:
    """Split a text into lines, without comments and blank lines."""
    lines = []
    for line in content.splitlines():
        if line.lstrip().startswith('#'):
            # Some programs write the heading of a table as a comment.
            heads = re.split(r'[,;\t]', line.lstrip().lstrip('#').lower())
            if len(heads) < 2 or not HEADINGS.issuperset(
                head.strip() for head in heads
            ):
                continue
            line = line.lstrip().lstrip('#')
        line = re.sub(r'\s+#(?:\s.*|$)', '', line)
        if line.strip():
            lines.append(line)
    return lines


def _from_lines(lines: list[str], path: Path) -> list[Entry]:
    cvat = _match_all(_CVAT, lines)
    if cvat:
        return [
            Entry(
                (match[1].strip(),),
                colour=(int(match[2]), int(match[3]), int(match[4])),
            )
            for match in cvat
        ]
    lines = [re.sub(r'(?<!\\)[,;]\s*$', '', line) for line in lines]
    for pattern in (_BULLET, _QUOTES):
        matches = _match_all(pattern, lines)
        if matches:
            lines = [match['text'] for match in matches]
    indexed = _indexed(lines)
    if indexed is None:
        parts = [split_classes(line) for line in lines]
        if any(len(part) > 1 for part in parts):
            _warn_of_semicolons(parts, lines, path)
            lines = [text for part in parts for text in part]
            indexed = _indexed(lines)
        elif len(lines) == 1 and _is_several(lines[0]):
            raise InputError(
                f'{path} has only the line {lines[0]!r}, which may be one '
                'class or several classes. Write each class on a separate '
                "line, or ';' between classes. Write '|' between synonyms of "
                "one class, and '\\,' for a comma that is part of a class text"
            )
    if indexed is not None:
        return indexed
    check_class_texts(lines, str(path))
    return [Entry(split_synonyms(line)) for line in lines]


def _match_all(
    pattern: re.Pattern[str], lines: Sequence[str]
) -> list[re.Match[str]]:
    """Match each whole line; return [] if at least one does not match."""
    matches = [match for match in map(pattern.fullmatch, lines) if match]
    return matches if len(matches) == len(lines) else []


def _is_several(line: str) -> bool:
    return len(split_synonyms(line)) > 1 and '|' not in line


def _warn_of_semicolons(
    parts: list[list[str]], lines: list[str], path: Path
) -> None:
    """Warn if some lines contain several classes, and others only one."""
    line, part = max(zip(lines, parts), key=lambda pair: len(pair[1]))
    if sum(len(part) == 1 for part in parts) > 1:
        warnings.warn(
            f'{path}: the line {line!r} is read as {len(part)} classes, '
            "because ';' separates classes; if these are synonyms of one "
            "class, write '|' between them",
            UserWarning,
            stacklevel=4,
        )


def _indexed(lines: Sequence[str]) -> list[Entry] | None:
    """Read classes with labels from lines such as ``'0: cat'``.

    Args:
        lines (Sequence[str]): Lines of a file.

    Returns:
        list[Entry] | None: One entry per line; None unless all lines begin
        with a label, or all lines end with a label.
    """
    if len(lines) < 2:
        return None
    for pattern, index, text, blank in (
        (_INDEXED, 1, 2, r'\s*\d+\.?\s+[^\s:=,;].*'),
        (_INDEX_LAST, 2, 1, r'.*[^\s:=,;]\s+\d+\s*'),
    ):
        matches = _match_all(pattern, lines)
        if not matches:
            continue
        values = [int(match[index]) for match in matches]
        # A number may be a part of a class text, so the numbers must look
        # like labels: they are 0, 1, ... or 1, 2, ...; or they are different
        # and a separator follows each.
        if sorted(values) in (
            list(range(len(lines))),
            list(range(1, len(lines) + 1)),
        ) or (
            len(set(values)) == len(values)
            and not any(re.fullmatch(blank, line) for line in lines)
        ):
            return [
                Entry(split_synonyms(match[text].strip()), index=value)
                for match, value in zip(matches, values)
            ]
    return None


def _from_json(content: str, path: Path) -> list[Entry] | Mapping[str, Any]:
    try:
        found = json.loads(content)
    except json.JSONDecodeError as error:
        try:
            found = ast.literal_eval(content.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise InputError(
                f'{path} is not valid JSON (line {error.lineno}, column '
                f'{error.colno}: {error.msg}); write a list such as '
                '["cat", "dog"]'
            ) from error
    return _from_object(found, path, 'JSON')


def _from_yaml(content: str, path: Path) -> list[Entry] | Mapping[str, Any]:
    try:
        # BaseLoader keeps all values as strings; others read `no` as false.
        found = yaml.load(content, Loader=yaml.BaseLoader)
        if isinstance(found, dict) and 'class_texts' in found:
            return yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise InputError(
            f'{path} is not valid YAML ({" ".join(str(error).split())}); '
            'write a list such as ["cat", "dog"]'
        ) from error
    return _from_object(found, path, 'YAML')


def _from_object(
    found: Any, path: Path, kind: str
) -> list[Entry] | Mapping[str, Any]:
    if isinstance(found, Mapping) and 'class_texts' in found:
        return found
    entries = _entries_of(found, path)
    if entries is None:
        raise InputError(
            f'{path} contains a {kind} {type(found).__name__}, but no list of '
            'classes; write a list with one string per class, such as '
            '["cat", "sofa, couch"], or a dict that has such a list under the '
            'key class_texts, categories, classes or names'
        )
    return _ordered(entries, path)


def _entries_of(found: Any, path: Path) -> list[Entry] | None:
    """Read the classes in a list or dict; None if it contains no classes."""
    if isinstance(found, (list, tuple)):
        return _entries_of_list(found, path)
    if not isinstance(found, Mapping) or not found:
        return None
    keys = {str(key).lower(): key for key in found}
    for key in _LIST_KEYS:
        if key in keys and isinstance(found[keys[key]], (list, dict)):
            entries = _entries_of(found[keys[key]], path)
            palette = found.get(keys.get('palette')) or []
            if entries and len(palette) == len(entries):
                entries = [
                    replace(entry, colour=colour_of(dict(color=colour)))
                    for entry, colour in zip(entries, palette)
                ]
            return entries
    if all(key.isdecimal() for key in keys):
        entries = _entries_of_list(list(found.values()), path)
        return [
            replace(entry, index=int(key))
            for entry, key in zip(entries, found)
        ]
    values = [str(value) for value in found.values()]
    if all(map(str.isdecimal, values)) and '0' in values:
        return [
            Entry((str(text),), index=int(value))
            for text, value in zip(found, values)
        ]
    if all(isinstance(v, list) and len(v) == 3 for v in found.values()):
        return entries_of_records(
            [dict(name=str(k), color=v) for k, v in found.items()], path
        )
    return None


def _entries_of_list(items: Sequence[Any], path: Path) -> list[Entry]:
    if items and all(isinstance(item, Mapping) for item in items):
        return entries_of_records(items, path)
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise InputError(
                f'{path}: entry {index} (counting from 0) is {item!r}, a '
                f'{type(item).__name__}; write a string'
            )
    check_class_texts(items, str(path))
    return [Entry(split_synonyms(item)) for item in items]


def _ordered(entries: list[Entry], path: Path) -> list[Entry]:
    """Sort the classes by their labels, if each class has a label."""
    by_value = [
        (entry.index, entry) for entry in entries if entry.index is not None
    ]
    if len(by_value) < len(entries) or not entries:
        return entries
    by_value.sort(key=lambda pair: pair[0])
    values = [value for value, _ in by_value]
    twice = [a for a, b in zip(values, values[1:]) if a == b]
    if twice:
        raise InputError(
            f'{path} gives the label {twice[0]} to two classes; give each '
            'class a different label'
        )
    if values[0] > 1 or values[-1] - values[0] >= len(values):
        warnings.warn(
            f'{path} numbers its {len(values)} classes from {values[0]} to '
            f'{values[-1]}. In this order, the classes get the labels 0 to '
            f'{len(values) - 1}. If the pixels of your label files have the '
            'original numbers, set label_map of the data set to map these '
            'numbers to the labels',
            UserWarning,
            stacklevel=5,
        )
    return [entry for _, entry in by_value]
