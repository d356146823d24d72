# SPDX-License-Identifier: Apache-2.0
"""Drawing of label maps over pictures, with a legend.

Letters: H, W pixels; L labels.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ovseg_mm.vocabulary import Vocabulary

from .font import drawable_name, load_font

# Smaller panels are enlarged, by a whole factor, at least to this.
_MIN_PANEL = 256
_MAX_ENTRIES = 40
_PAPER = (255, 255, 255)
_INK = (20, 20, 20)

Colours = Sequence[Sequence[int]]


def draw_overlay(
    image: np.ndarray,
    labels: np.ndarray,
    vocabulary: Vocabulary | tuple[Sequence[str], Colours],
    alpha: float = 0.6,
    unseen: Sequence[int] = (),
) -> np.ndarray:
    """Colour a picture by its labels, above a legend of those present.

    Args:
        image (np.ndarray): RGB of shape (H, W, 3) and type uint8.
        labels (np.ndarray): Integers of shape (H, W). Where they are not in
            [0, L) the picture shows through.
        vocabulary (Vocabulary | tuple[Sequence[str], Colours]): Names and
            colours: a vocabulary, or a pair of L names and L colours (red,
            green, blue).
        alpha (float): Opacity of the colours, in [0, 1].
        unseen (Sequence[int]): Labels to be marked as unseen, besides the
            vocabulary's own.

    Returns:
        np.ndarray: RGB uint8. The legend lists classes by falling area; a name
        with letters that the font lacks (such as Chinese ones) has its label's
        number in front. A small picture is enlarged by a whole factor so that
        something can be seen.

    Raises:
        ValueError: If image and labels do not fit each other.
    """
    if isinstance(vocabulary, Vocabulary):
        unseen = (*vocabulary.unseen, *unseen)
        vocabulary = (vocabulary.label_names, vocabulary.palette)
    return draw_panels(image, {'': labels}, *vocabulary, unseen, alpha)


def draw_panels(
    image: np.ndarray,
    panels: Mapping[str, np.ndarray],
    names: Sequence[str],
    palette: Colours,
    unseen: Sequence[int] = (),
    alpha: float = 0.6,
    with_legend: bool = True,
) -> np.ndarray:
    """Draw several label maps of a picture side by side, with one legend.

    Args:
        image (np.ndarray): RGB of shape (H, W, 3) and type uint8.
        panels (Mapping[str, np.ndarray]): Title (``''`` for none) to labels of
            shape (H, W), left to right.
        names (Sequence[str]): L names.
        palette (Colours): L colours.
        unseen (Sequence[int]): Labels to be marked as unseen.
        alpha (float): Opacity of the colours, in [0, 1].
        with_legend (bool): Whether to draw the legend.

    Returns:
        np.ndarray: RGB uint8.

    Raises:
        ValueError: If image and labels do not fit each other.
    """
    image = np.ascontiguousarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            'The picture to draw on must be RGB of shape (H, W, 3) and type '
            f'uint8; found {image.shape} and {image.dtype}.'
        )
    for title, labels in panels.items():
        if labels.shape != image.shape[:2]:
            raise ValueError(
                f'The label map {title!r} has shape {labels.shape}, but its '
                f'picture has {image.shape[:2]}.'
            )
    factor = max(1, math.ceil(_MIN_PANEL / max(image.shape[:2])))
    drawn = [
        _enlarge(_blend(image, labels, palette, alpha), factor)
        for labels in panels.values()
    ]
    sheet = _lay_out(drawn, list(panels))
    if not with_legend:
        return sheet
    areas = np.zeros(len(names), dtype=np.int64)
    for labels in panels.values():
        areas += np.bincount(
            labels[(labels >= 0) & (labels < len(names))],
            minlength=len(names),
        )
    entries = [
        _Entry(
            drawable_name(names[label], label)
            + ' (unseen)' * (label in unseen),
            palette[label],
        )
        for label in np.argsort(-areas, kind='stable').tolist()
        if areas[label] > 0
    ]
    legend = _draw_legend(entries, sheet.shape[1])
    return np.concatenate([_widen(sheet, legend.shape[1]), legend])


class _Entry(NamedTuple):
    text: str
    colour: Sequence[int] | None


def _blend(
    image: np.ndarray, labels: np.ndarray, palette: Colours, alpha: float
) -> np.ndarray:
    """Mix the colours of the labels into the picture."""
    size = len(palette)
    bare = (labels < 0) | (labels >= size)
    table = np.array([*palette, (0, 0, 0)], dtype=np.uint8)
    colours = table[np.where(bare, size, labels)]
    mixed = cv2.addWeighted(image, 1 - alpha, colours, alpha, 0)
    # A picture one pixel wide comes back without the axis.
    mixed = mixed.reshape(image.shape)
    mixed[bare] = image[bare]
    return mixed


def _enlarge(panel: np.ndarray, factor: int) -> np.ndarray:
    return panel.repeat(factor, axis=0).repeat(factor, axis=1)


def _font_size(width: int) -> int:
    """Letters keep their share of the sheet, for it is viewed as a whole."""
    return max(13, round(width / 56))


def _lay_out(panels: list[np.ndarray], titles: list[str]) -> np.ndarray:
    """Put panels into a row, titles above them."""
    height, width = panels[0].shape[:2]
    total = width * len(panels)
    gap = max(4, total // 200) if len(panels) > 1 else 0
    size = _font_size(total)
    font = load_font(size)
    top = round(1.6 * size) if any(titles) else 0
    sheet = Image.new(
        'RGB', (total + gap * (len(panels) - 1), top + height), _PAPER
    )
    draw = ImageDraw.Draw(sheet)
    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        left = index * (width + gap)
        sheet.paste(Image.fromarray(panel), (left, top))
        draw.text((left + size // 3, top // 2), title, _INK, font, 'lm')
    return np.array(sheet)


def _draw_legend(entries: list[_Entry], width: int) -> np.ndarray:
    """Draw boxes and names in as many columns as fit."""
    if not entries:
        entries = [_Entry('no class', None)]
    if len(entries) > _MAX_ENTRIES:
        rest = len(entries) - _MAX_ENTRIES
        entries = [*entries[:_MAX_ENTRIES], _Entry(f'and {rest} more', None)]
    size = _font_size(width)
    font = load_font(size)
    pad, line = size // 2, round(1.6 * size)
    width = max(width, 16 * size)
    # box, gap, text, gap
    extra = size + 3 * pad
    texts = [_shorten(e.text, font, width - extra - pad) for e in entries]
    lengths = [math.ceil(font.getlength(text)) + extra for text in texts]
    rows, columns = _columns(lengths, width - pad)
    sheet = Image.new('RGB', (width, rows * line + 2 * pad), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (entry, text) in enumerate(zip(entries, texts, strict=True)):
        left = pad + sum(columns[: index // rows])
        middle = pad + index % rows * line + line // 2
        if entry.colour is not None:
            draw.rectangle(
                (left, middle - size // 2, left + size, middle + size // 2),
                fill=tuple(entry.colour),
                outline=_INK,
            )
        draw.text((left + size + pad, middle), text, _INK, font, 'lm')
    return np.array(sheet)


def _columns(lengths: list[int], room: int) -> tuple[int, list[int]]:
    """Find the fewest rows in which a list, read down columns, fits.

    Args:
        lengths (list[int]): Width of each entry, at most ``room``.
        room (int): Width of the page.

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
    """Cut a text that is wider than the legend."""
    if font.getlength(text) <= room:
        return text
    kept = bisect_left(
        range(len(text)), room, key=lambda n: font.getlength(f'{text[:n]}...')
    )
    return f'{text[: max(kept - 1, 0)]}...'


def _widen(sheet: np.ndarray, width: int) -> np.ndarray:
    """Fill up a narrow sheet with paper on its right."""
    missing = width - sheet.shape[1]
    return np.pad(sheet, ((0, 0), (0, missing), (0, 0)), constant_values=255)
