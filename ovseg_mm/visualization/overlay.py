# SPDX-License-Identifier: Apache-2.0
"""Drawing of label maps over images, with a legend."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import Vocabulary

from .font import load_font
from .legend import (
    INK,
    PAPER,
    Colours,
    Entry,
    draw_legend,
    font_size,
    legend_entries,
)
from .regions import ALARM, draw_outlines, outline_mask, tint, write_names

# Images whose longer side is smaller, in pixels, are enlarged.
_MIN_PANEL = 256


def draw_overlay(
    image: np.ndarray,
    labels: np.ndarray,
    vocabulary: Vocabulary | tuple[Sequence[str], Colours],
    alpha: float = 0.6,
    outlines: bool = True,
    fill: bool = True,
    text: bool = False,
    side_by_side: bool = False,
    unseen: Sequence[int] = (),
) -> np.ndarray:
    """Draw a label map over its image, above a legend of its classes.

    The legend lists classes by decreasing area. If no installed font has all
    letters of a class name, the label number is written before the name.

    Args:
        image (np.ndarray): RGB image, (H, W, 3) uint8.
        labels (np.ndarray): Label map, (H, W) integers. For L labels, pixels
            with values outside [0, L) keep the colour of the image.
        vocabulary (Vocabulary | tuple[Sequence[str], Colours]): A
            vocabulary, or a pair of L class names and L colours (red, green,
            blue).
        alpha (float): Opacity of the colours, in [0, 1].
        outlines (bool): Whether to draw the borders of the regions.
        fill (bool): Whether to fill the regions with the colours of their
            classes. If not, the outlines have these colours.
        text (bool): Whether to write class names into regions that are large
            enough.
        side_by_side (bool): Whether to place the image to the left of the
            overlay.
        unseen (Sequence[int]): Labels that the legend marks as unseen, in
            addition to the unseen labels of the vocabulary.

    Returns:
        np.ndarray: RGB drawing of height H' and width W' with the legend,
        (H', W', 3) uint8. Small images are enlarged by an integer factor.

    Raises:
        InputError: If the image is not RGB uint8, or image and labels differ
            in size.
    """
    if isinstance(vocabulary, Vocabulary):
        unseen = (*vocabulary.unseen, *unseen)
        vocabulary = (vocabulary.label_names, vocabulary.palette)
    panels: dict[str, np.ndarray | None] = {'': labels}
    if side_by_side:
        panels = {'image': None, 'labels': labels}
    return draw_panels(
        image,
        panels,
        *vocabulary,
        unseen,
        alpha,
        outlines=outlines,
        fill=fill,
        text=text,
    )


def draw_panels(
    image: np.ndarray,
    panels: Mapping[str, np.ndarray | None],
    names: Sequence[str],
    palette: Colours,
    unseen: Sequence[int] = (),
    alpha: float = 0.6,
    *,
    outlines: bool = True,
    fill: bool = True,
    text: bool = False,
    with_legend: bool = True,
    wrong: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Draw several label maps of an image side by side, with one legend.

    Args:
        image (np.ndarray): RGB image, (H, W, 3) uint8.
        panels (Mapping[str, np.ndarray | None]): Panels from left to right.
            The key is the title of the panel and may be empty. The value is
            its label map, (H, W) integers. None as the value: the panel shows
            only the image.
        names (Sequence[str]): Class names of the L labels.
        palette (Colours): Colours (red, green, blue) of the L labels.
        unseen (Sequence[int]): Labels that the legend marks as unseen.
        alpha (float): Opacity of the colours, in [0, 1].
        outlines (bool): Whether to draw the borders of the regions.
        fill (bool): Whether to fill the regions with the colours of their
            classes. If not, the outlines have these colours.
        text (bool): Whether to write class names into regions that are large
            enough.
        with_legend (bool): Whether to draw the legend.
        wrong (Mapping[str, np.ndarray], optional): Panels with red outlines
            around wrong pixels. The key is the title of the panel. The value
            is the mask of the wrong pixels, (H, W) bool.

    Returns:
        np.ndarray: RGB drawing of height H' and width W' with all panels and
        the legend, (H', W', 3) uint8. Small images are enlarged by an integer
        factor.

    Raises:
        InputError: If the image is not RGB uint8, or image and labels differ
            in size.
    """
    image = np.ascontiguousarray(image)
    _check_shapes(image, panels)
    factor = enlargement(image.shape)
    enlarged = _enlarge(image, factor)
    drawn = []
    for title, labels in panels.items():
        panel = enlarged
        if labels is not None:
            labels = _enlarge(labels, factor)
            if fill:
                panel = tint(panel, labels, palette, alpha)
            if outlines:
                panel = draw_outlines(panel, labels, palette, not fill)
        if wrong and title in wrong:
            panel = outline_mask(panel, _enlarge(wrong[title], factor))
        if labels is not None and text:
            panel = write_names(panel, labels, names)
        drawn.append(panel)
    sheet = _lay_out(drawn, list(panels))
    if not with_legend:
        return sheet
    maps = [labels for labels in panels.values() if labels is not None]
    entries = legend_entries(maps, names, palette, unseen)
    if wrong:
        entries.append(Entry('wrong (outlined)', ALARM))
    legend = draw_legend(entries, sheet.shape[1])
    return np.concatenate([_widen(sheet, legend.shape[1]), legend])


def enlargement(shape: Sequence[int]) -> int:
    """Return the integer factor to enlarge an image of this shape (H, W)."""
    return max(1, math.ceil(_MIN_PANEL / max(shape[:2])))


def check_image(image: np.ndarray) -> None:
    """Check that an image is RGB with 8 bits per channel.

    Args:
        image (np.ndarray): Image to check.

    Raises:
        InputError: If the image is not (H, W, 3) uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            'an image to draw on must be RGB of shape (H, W, 3) and dtype '
            f'uint8, but has the shape {image.shape} and the dtype '
            f'{image.dtype}; convert it'
        )


def _check_shapes(
    image: np.ndarray, panels: Mapping[str, np.ndarray | None]
) -> None:
    check_image(image)
    for title, labels in panels.items():
        if labels is not None and labels.shape != image.shape[:2]:
            raise InputError(
                f'the label map {title!r} has shape {labels.shape}, but the '
                f'image has height and width {image.shape[:2]}; give one '
                'label for each pixel'
            )


def _enlarge(panel: np.ndarray, factor: int) -> np.ndarray:
    return panel.repeat(factor, axis=0).repeat(factor, axis=1)


def _lay_out(panels: list[np.ndarray], titles: list[str]) -> np.ndarray:
    """Place panels in a row, with titles above them."""
    height, width = panels[0].shape[:2]
    total = width * len(panels)
    gap = max(4, total // 200) if len(panels) > 1 else 0
    size = font_size(total)
    font = load_font(size)
    top = round(1.6 * size) if any(titles) else 0
    sheet = Image.new(
        'RGB', (total + gap * (len(panels) - 1), top + height), PAPER
    )
    canvas = ImageDraw.Draw(sheet)
    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        left = index * (width + gap)
        sheet.paste(Image.fromarray(panel), (left, top))
        canvas.text((left + size // 3, top // 2), title, INK, font, 'lm')
    return np.array(sheet)


def _widen(sheet: np.ndarray, width: int) -> np.ndarray:
    """Widen a drawing to ``width`` pixels with white on the right."""
    missing = width - sheet.shape[1]
    return np.pad(sheet, ((0, 0), (0, missing), (0, 0)), constant_values=255)
