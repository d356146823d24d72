# SPDX-License-Identifier: Apache-2.0
"""Tables of results, with the settings that the results depend on."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import prettytable
from prettytable import PrettyTable

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import write_text

# Newer releases of prettytable have MARKDOWN in the enum TableStyle.
MARKDOWN = getattr(prettytable, 'TableStyle', prettytable).MARKDOWN
RULES = (
    'mIoU: mean IoU of the classes that occur in the ground truth (as in '
    'current detectron2). mIoU_union: classes that occur only in the '
    'predictions are included, with an IoU of 0 (as in MMSegmentation and '
    'older detectron2).'
)
_HASH = re.compile('[0-9a-f]{64}')
# Longest value in a table, in characters.
_LONGEST = 200
Row = dict[str, Any]


def result_table(rows: list[Row], markdown: bool = False) -> str:
    """Format the results on several data sets as text.

    Args:
        rows (list[Row]): One row per data set: ``dataset`` (name), ``images``
            (number), ``metrics`` (percentages by name) and ``settings``
            (values by name).
        markdown (bool): Whether to use Markdown tables.

    Returns:
        str: A table of metrics and a table of settings. A setting with the
        same value for all data sets has one row. Hashes are cut to 12
        digits, and all other values to 200 characters.
    """
    metrics = _keys(row['metrics'] for row in rows)
    figures = PrettyTable(['data set', 'images', *metrics])
    for row in rows:
        values = [_figure(row['metrics'].get(key)) for key in metrics]
        figures.add_row([row['dataset'], row['images'], *values])
    settings = PrettyTable(['data set', 'setting', 'value'])
    settings.align = 'l'
    for key in _keys(row['settings'] for row in rows):
        values = [_cell(row['settings'].get(key)) for row in rows]
        if len(set(values)) == 1:
            settings.add_row(['all', key, values[0]])
            continue
        for row, value in zip(rows, values):
            settings.add_row([row['dataset'], key, value])
    if markdown:
        figures.set_style(MARKDOWN)
        settings.set_style(MARKDOWN)
    return f'{figures.get_string()}\n\n{RULES}\n\n{settings.get_string()}\n'


def write_reports(
    folder: Path, rows: list[Row], skipped: dict[str, str]
) -> None:
    """Write ``results.json``, ``results.csv`` and ``results.md``.

    Args:
        folder (Path): Folder of the files.
        rows (list[Row]): One row per data set, see :func:`result_table`.
        skipped (dict[str, str]): Reason why a data set was skipped, by name
            of the data set.
    """
    content = dict(rules=RULES, results=rows, skipped=skipped)
    # JSON has no NaN; null stands for it.
    content = json.loads(json.dumps(content), parse_constant=lambda _: None)
    write_text(folder / 'results.json', json.dumps(content, indent=1) + '\n')
    flat = [
        {
            'dataset': row['dataset'],
            'images': row['images'],
            **row['metrics'],
            **{key: _text(value) for key, value in row['settings'].items()},
        }
        for row in rows
    ]
    file = io.StringIO()
    writer = csv.DictWriter(file, _keys(flat))
    writer.writeheader()
    writer.writerows(flat)
    write_text(folder / 'results.csv', file.getvalue())
    notes = ''.join(f'\n{key}: {why}\n' for key, why in skipped.items())
    write_text(
        folder / 'results.md', result_table(rows, markdown=True) + notes
    )


def read_rows(folder: Path) -> list[Row]:
    """Read the results that :func:`write_reports` has written.

    Args:
        folder (Path): Folder of ``results.json``.

    Returns:
        list[Row]: One row per data set, see :func:`result_table`; empty if
        the file is missing.

    Raises:
        InputError: If the file was not written by :func:`write_reports`.
    """
    path = folder / 'results.json'
    if not path.is_file():
        return []
    rows: list[Row] = []
    try:
        for row in read_json(path)['results']:
            metrics = {
                key: math.nan if value is None else value
                for key, value in row['metrics'].items()
            }
            known = {key: row[key] for key in ('dataset', 'images')}
            rows.append(
                {**known, 'metrics': metrics, 'settings': row['settings']}
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path) from error
    return rows


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file that an evaluation has written.

    Args:
        path (Path): The file.

    Returns:
        dict[str, Any]: The JSON object.

    Raises:
        InputError: If the file does not contain a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise _unreadable(path) from error
    if not isinstance(content, dict):
        raise _unreadable(path)
    return content


def _unreadable(path: Path) -> InputError:
    return InputError(
        f'{path} is damaged or was not written by an evaluation; delete it or '
        'name another --work-dir'
    )


def _keys(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Keys of all mappings, in the order of their first occurrence."""
    return list(dict.fromkeys(key for each in mappings for key in each))


def _figure(value: float | None) -> str:
    return '-' if value is None or math.isnan(value) else f'{value:.2f}'


def _cell(value: object) -> str:
    """Text of a setting for a table, cut if it is long."""
    text = _text(value)
    if _HASH.fullmatch(text):
        return text[:12]
    if len(text) <= _LONGEST:
        return text
    more = len(text) - _LONGEST
    return f'{text[:_LONGEST]} [... {more} characters, see results.json]'


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
