# SPDX-License-Identifier: Apache-2.0
"""Tables of results, with what makes a figure comparable."""

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import prettytable
from prettytable import PrettyTable

from ovseg_mm.utils.paths import write_text

# The name moved between releases.
MARKDOWN = getattr(prettytable, 'TableStyle', prettytable).MARKDOWN
RULES = (
    'mIoU: mean over the classes that occur in the labels (current '
    'detectron2). mIoU_union: also over those that were only predicted, as 0 '
    '(MMSegmentation, older detectron2).'
)
_HASH = re.compile('[0-9a-f]{64}')
Row = dict[str, Any]


def result_table(rows: list[Row], markdown: bool = False) -> str:
    """Lay out the results of several data sets as text.

    Args:
        rows: For each data set ``dataset``, ``images``, ``metrics`` (by name,
            in percent) and ``settings`` (by name).
        markdown: Whether as Markdown.

    Returns:
        A table of the figures, and one of the settings, in which those that
        are the same for all data sets stand once; hashes are cut.
    """
    metrics = _keys(row['metrics'] for row in rows)
    figures = PrettyTable(['data set', 'images', *metrics])
    for row in rows:
        values = [_figure(row['metrics'].get(key)) for key in metrics]
        figures.add_row([row['dataset'], row['images'], *values])
    settings = PrettyTable(['data set', 'setting', 'value'])
    settings.align = 'l'
    for key in _keys(row['settings'] for row in rows):
        values = [_text(row['settings'].get(key)) for row in rows]
        values = [v[:12] if _HASH.fullmatch(v) else v for v in values]
        if len(set(values)) == 1:
            settings.add_row(['all', key, values[0]])
            continue
        for row, value in zip(rows, values):
            settings.add_row([row['dataset'], key, value])
    if markdown:
        figures.set_style(MARKDOWN)
        settings.set_style(MARKDOWN)
    return f'{figures.get_string()}\n\n{RULES}\n\n{settings.get_string()}\n'


def write_reports(folder: Path, rows: list[Row], skipped: Row) -> None:
    """Write ``results.json``, ``results.csv`` and ``results.md``.

    Args:
        folder: Where to.
        rows: See :func:`result_table`.
        skipped: Why a data set has no result, by its name.
    """
    content = dict(rules=RULES, results=rows, skipped=skipped)
    # JSON knows no NaN.
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
    """Read the rows that :func:`write_reports` wrote, if any."""
    path = folder / 'results.json'
    if not path.is_file():
        return []
    rows = json.loads(path.read_text())['results']
    for row in rows:
        for key, value in row['metrics'].items():
            row['metrics'][key] = math.nan if value is None else value
    return rows


def _keys(mappings) -> list[str]:
    """Keys of all mappings, in the order in which they come."""
    return list(dict.fromkeys(key for each in mappings for key in each))


def _figure(value: float | None) -> str:
    return '-' if value is None or math.isnan(value) else f'{value:.2f}'


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
