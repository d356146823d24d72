# SPDX-License-Identifier: Apache-2.0
"""Legends: coloured boxes with class names."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .font import drawable_name, load_font

PAPER = (255, 255, 255)
INK = (20, 20, 20)
# Largest number of classes that a legend lists.
_MAX_ENTRIES = 40

Colours = Sequence[Sequence[int]]


class Entry(NamedTuple):
    """Entry of a legend: a text and the colour of its box (None: no box)."""

    text: str
    colour: Sequence[int] | None


def legend_entries(
    maps: Iterable[np.ndarray],
    names: Sequence[str],
    palette: Colours,
    unseen: Sequence[int],
) -> list[Entry]:
    """Return legend entries of the classes that occur, largest area first.

    Args:
        maps (Iterable[np.ndarray]): Label maps, (H, W) integers.
        names (Sequence[str]): Class names of the L labels.
        palette (Colours): Colours (red, green, blue) of the L labels.
        unseen (Sequence[int]): Labels that are marked as unseen.

    Returns:
        list[Entry]: Entries of the labels in [0, L) that occur in the maps.
    """
    areas = np.zeros(len(names), dtype=np.int64)
    for labels in maps:
        areas += np.bincount(
            labels[(labels >= 0) & (labels < len(names))],
            minlength=len(names),
        )
    return [
        Entry(
            drawable_name(names[label], label)
            + ' (unseen)' * (label in unseen),
            palette[label],
        )
        for label in np.argsort(-areas, kind='stable').tolist()
        if areas[label] > 0
    ]


def font_size(width: int) -> int:
    """Return the height of letters for a drawing of this width, in pixels."""
    return max(13, round(width / 56))


def draw_legend(entries: list[Entry], width: int) -> np.ndarray:
    """Draw boxes and class names in as many columns as fit.

    Args:
        entries (list[Entry]): Entries of the legend. At most 40 entries are
            drawn.
        width (int): Width of the drawing above the legend, in pixels. The
            legend has at least this width.

    Returns:
        np.ndarray: RGB drawing of height H and width W >= ``width``,
        (H, W, 3) uint8.
    """
    if not entries:
        entries = [Entry('no class', None)]
    if len(entries) > _MAX_ENTRIES:
        rest = len(entries) - _MAX_ENTRIES
        entries = [*entries[:_MAX_ENTRIES], Entry(f'and {rest} more', None)]
    size = font_size(width)
    pad, line = size // 2, round(1.6 * size)
    width = max(width, 16 * size)
    # box, gap, text, gap
    extra = size + 3 * pad
    fonts = [load_font(size, entry.text) for entry in entries]
    texts = [
        _shorten(entry.text, font, width - extra - pad)
        for entry, font in zip(entries, fonts, strict=True)
    ]
    lengths = [
        math.ceil(font.getlength(text)) + extra
        for text, font in zip(texts, fonts, strict=True)
    ]
    rows, columns = _columns(lengths, width - pad)
    sheet = Image.new('RGB', (width, rows * line + 2 * pad), PAPER)
    canvas = ImageDraw.Draw(sheet)
    for index, (entry, text) in enumerate(zip(entries, texts, strict=True)):
        left = pad + sum(columns[: index // rows])
        middle = pad + index % rows * line + line // 2
        if entry.colour is not None:
            canvas.rectangle(
                (left, middle - size // 2, left + size, middle + size // 2),
                fill=tuple(entry.colour),
                outline=INK,
            )
        place = left + size + pad, middle
        canvas.text(place, text, INK, fonts[index], 'lm')
    return np.array(sheet)


def _columns(lengths: list[int], room: int) -> tuple[int, list[int]]:
    """Divide entries into columns, with as few rows as possible.

    Args:
        lengths (list[int]): Width of each entry, at most ``room``.
        room (int): Width of all columns together.

    Returns:
        tuple[int, list[int]]: Number of rows, and the width of each column.
    """
    for rows in range(1, len(lengths) + 1):
        columns = [
            max(lengths[start : start + rows])
            for start in range(0, len(lengths), rows)
        ]
        if sum(columns) <= room:
            break
    return rows, columns


def _shorten(text: str, font: ImageFont.FreeTypeFont, room: int) -> str:
    """Shorten a text to ``room`` pixels; a shortened text ends in "..."."""
    if font.getlength(text) <= room:
        return text
    kept = bisect_left(
        range(len(text)),
        float(room),
        key=lambda n: font.getlength(f'{text[:n]}...'),
    )
    return f'{text[: max(kept - 1, 0)]}...'
