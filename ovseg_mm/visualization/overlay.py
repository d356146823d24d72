# SPDX-License-Identifier: Apache-2.0
"""Drawing of label maps over images, with a legend.

Letters: H, W pixels; L labels.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import Vocabulary

from .font import drawable_name, load_font

# Smaller panels are enlarged by a whole factor to at least this size.
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
    """Draw a label map over its image, above a legend of its classes.

    Args:
        image (np.ndarray): RGB of shape (H, W, 3) and type uint8.
        labels (np.ndarray): Integers of shape (H, W). Pixels with values
            outside [0, L) keep the colour of the image.
        vocabulary (Vocabulary | tuple[Sequence[str], Colours]): A
            vocabulary, or a pair of L class names and L colours (red, green,
            blue).
        alpha (float): Opacity of the colours, in [0, 1].
        unseen (Sequence[int]): Labels that the legend marks as unseen, in
            addition to the unseen labels of the vocabulary.

    Returns:
        np.ndarray: RGB uint8, (H', W', 3). The legend lists classes by
        decreasing area; a class name with letters that the font lacks (such
        as Chinese) has its label in front. Small images are enlarged by a
        whole factor.

    Raises:
        InputError: If the image is not RGB uint8, or the sizes of image and
            labels differ.
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
    """Draw several label maps of an image side by side, with one legend.

    Args:
        image (np.ndarray): RGB of shape (H, W, 3) and type uint8.
        panels (Mapping[str, np.ndarray]): Label maps (H, W) by title (``''``
            for none), left to right.
        names (Sequence[str]): L class names.
        palette (Colours): L colours (red, green, blue).
        unseen (Sequence[int]): Labels that the legend marks as unseen.
        alpha (float): Opacity of the colours, in [0, 1].
        with_legend (bool): Whether to draw the legend.

    Returns:
        np.ndarray: RGB uint8, (H', W', 3).

    Raises:
        InputError: If the image is not RGB uint8, or the sizes of image and
            labels differ.
    """
    image = np.ascontiguousarray(image)
    _check_shapes(image, panels)
    factor = max(1, math.ceil(_MIN_PANEL / max(image.shape[:2])))
    drawn = [
        _enlarge(_blend(image, labels, palette, alpha), factor)
        for labels in panels.values()
    ]
    sheet = _lay_out(drawn, list(panels))
    if not with_legend:
        return sheet
    entries = _legend_entries(panels, names, palette, unseen)
    legend = _draw_legend(entries, sheet.shape[1])
    return np.concatenate([_widen(sheet, legend.shape[1]), legend])


class _Entry(NamedTuple):
    text: str
    colour: Sequence[int] | None


def _check_shapes(image: np.ndarray, panels: Mapping[str, np.ndarray]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            'an image to draw on must be RGB of shape (H, W, 3) and type '
            f'uint8; found {image.shape} and {image.dtype}'
        )
    for title, labels in panels.items():
        if labels.shape != image.shape[:2]:
            raise InputError(
                f'the label map {title!r} has shape {labels.shape}, but its '
                f'image has {image.shape[:2]}'
            )


def _legend_entries(
    panels: Mapping[str, np.ndarray],
    names: Sequence[str],
    palette: Colours,
    unseen: Sequence[int],
) -> list[_Entry]:
    """Entries of the labels that occur, by decreasing area."""
    areas = np.zeros(len(names), dtype=np.int64)
    for labels in panels.values():
        areas += np.bincount(
            labels[(labels >= 0) & (labels < len(names))],
            minlength=len(names),
        )
    return [
        _Entry(
            drawable_name(names[label], label)
            + ' (unseen)' * (label in unseen),
            palette[label],
        )
        for label in np.argsort(-areas, kind='stable').tolist()
        if areas[label] > 0
    ]


def _blend(
    image: np.ndarray, labels: np.ndarray, palette: Colours, alpha: float
) -> np.ndarray:
    """Blend the colours of the labels with the image."""
    size = len(palette)
    bare = (labels < 0) | (labels >= size)
    table = np.array([*palette, (0, 0, 0)], dtype=np.uint8)
    colours = table[np.where(bare, size, labels)]
    mixed = cv2.addWeighted(image, 1 - alpha, colours, alpha, 0)
    # OpenCV drops the axis of an image one pixel wide.
    mixed = mixed.reshape(image.shape)
    mixed[bare] = image[bare]
    return mixed


def _enlarge(panel: np.ndarray, factor: int) -> np.ndarray:
    return panel.repeat(factor, axis=0).repeat(factor, axis=1)


def _font_size(width: int) -> int:
    """Height of letters in pixels, in proportion to the width of the sheet."""
    return max(13, round(width / 56))


def _lay_out(panels: list[np.ndarray], titles: list[str]) -> np.ndarray:
    """Place panels in a row, with titles above them."""
    height, width = panels[0].shape[:2]
    total = width * len(panels)
    gap = max(4, total // 200) if len(panels) > 1 else 0
    size = _font_size(total)
    font = load_font(size)
    top = round(1.6 * size) if any(titles) else 0
    sheet = Image.new(
        'RGB', (total + gap * (len(panels) - 1), top + height), _PAPER
    )
    canvas = ImageDraw.Draw(sheet)
    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        left = index * (width + gap)
        sheet.paste(Image.fromarray(panel), (left, top))
        canvas.text((left + size // 3, top // 2), title, _INK, font, 'lm')
    return np.array(sheet)


def _draw_legend(entries: list[_Entry], width: int) -> np.ndarray:
    """Draw boxes and class names in as many columns as fit."""
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
    canvas = ImageDraw.Draw(sheet)
    for index, (entry, text) in enumerate(zip(entries, texts, strict=True)):
        left = pad + sum(columns[: index // rows])
        middle = pad + index % rows * line + line // 2
        if entry.colour is not None:
            canvas.rectangle(
                (left, middle - size // 2, left + size, middle + size // 2),
                fill=tuple(entry.colour),
                outline=_INK,
            )
        canvas.text((left + size + pad, middle), text, _INK, font, 'lm')
    return np.array(sheet)


def _columns(lengths: list[int], room: int) -> tuple[int, list[int]]:
    """Smallest number of rows in which all columns of a list fit.

    Args:
        lengths (list[int]): Width of each entry, at most ``room``.
        room (int): Width of the sheet.

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
    """Cut a text to the width of the legend."""
    if font.getlength(text) <= room:
        return text
    kept = bisect_left(
        range(len(text)),
        float(room),
        key=lambda n: font.getlength(f'{text[:n]}...'),
    )
    return f'{text[: max(kept - 1, 0)]}...'


def _widen(sheet: np.ndarray, width: int) -> np.ndarray:
    """Pad a sheet to a width with white on the right."""
    missing = width - sheet.shape[1]
    return np.pad(sheet, ((0, 0), (0, missing), (0, 0)), constant_values=255)
