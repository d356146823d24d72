# SPDX-License-Identifier: Apache-2.0
"""Colours, outlines and names of the regions of a label map."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .font import drawable_name, load_font
from .legend import INK, PAPER, Colours, font_size

# Colour of lines around wrong regions.
ALARM = (255, 0, 60)
# Width of the dark edge of letters, and least height of letters, in pixels.
_HALO = 2
_SMALLEST = 10


def tint(
    image: np.ndarray, labels: np.ndarray, palette: Colours, alpha: float
) -> np.ndarray:
    """Blend an image with the colours of the classes in its label map.

    Args:
        image (np.ndarray): RGB image, (H, W, 3) uint8.
        labels (np.ndarray): Label map, (H, W) integers. For L labels, pixels
            with values outside [0, L) keep the colour of the image.
        palette (Colours): Colours (red, green, blue) of the L labels.
        alpha (float): Opacity of the colours, in [0, 1].

    Returns:
        np.ndarray: Blended RGB image, (H, W, 3) uint8.
    """
    size = len(palette)
    bare = (labels < 0) | (labels >= size)
    colours = _coloured(labels, bare, palette)
    mixed = cv2.addWeighted(image, 1 - alpha, colours, alpha, 0)
    # OpenCV drops the axis of an image one pixel wide.
    mixed = mixed.reshape(image.shape)
    mixed[bare] = image[bare]
    return mixed


def draw_outlines(
    picture: np.ndarray, labels: np.ndarray, palette: Colours, coloured: bool
) -> np.ndarray:
    """Draw the borders between regions of different labels.

    Args:
        picture (np.ndarray): RGB image, (H, W, 3) uint8.
        labels (np.ndarray): Label map, (H, W) integers.
        palette (Colours): Colours (red, green, blue) of the labels.
        coloured (bool): True: the lines have the colours of the classes.
            False: the lines are white with dark edges, and regions of a few
            pixels have no lines.

    Returns:
        np.ndarray: RGB image with lines, (H, W, 3) uint8.
    """
    bare = (labels < 0) | (labels >= len(palette))
    plain = np.where(bare, len(palette), labels).astype(np.float32)
    if not coloured:
        # Without smoothing, lines around single pixels would hide a border.
        smooth = np.asarray(cv2.medianBlur(plain, 5), dtype=np.float32)
        plain = smooth.reshape(plain.shape)
    width = _line_width(labels.shape)
    picture = picture.copy()
    if coloured:
        inside = _borders(plain, 4 * width + 2) & ~bare
        picture[inside] = _coloured(labels, bare, palette)[inside]
        picture[_borders(plain, width)] = INK
    else:
        beside = _borders(plain, width + 2)
        picture[beside] = picture[beside] // 2
        picture[_borders(plain, width)] = PAPER
    return picture


def outline_mask(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw the border of a mask in red.

    Args:
        picture (np.ndarray): RGB image, (H, W, 3) uint8.
        mask (np.ndarray): Mask, (H, W) bool.

    Returns:
        np.ndarray: RGB image with the border, (H, W, 3) uint8.
    """
    width = _line_width(mask.shape)
    picture = picture.copy()
    plain = mask.astype(np.uint8)
    for depth, colour in ((3 * width, PAPER), (2 * width, ALARM)):
        kernel = np.ones((2 * depth + 1, 2 * depth + 1), np.uint8)
        inner = cv2.erode(plain, kernel).reshape(mask.shape) > 0
        picture[mask & ~inner] = colour
    return picture


def write_names(
    picture: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """Write the class name into each region that is large enough.

    The centre of the name is the point of the region that is farthest from
    the border of the region.

    Args:
        picture (np.ndarray): RGB image, (H, W, 3) uint8.
        labels (np.ndarray): Label map, (H, W) integers. For L labels, pixels
            with values outside [0, L) get no name.
        names (Sequence[str]): Class names of the L labels.

    Returns:
        np.ndarray: RGB image with names, (H, W, 3) uint8.
    """
    from scipy import ndimage

    sheet = Image.fromarray(picture)
    canvas = ImageDraw.Draw(sheet)
    size = font_size(picture.shape[1])
    known = np.where((labels < 0) | (labels >= len(names)), -1, labels) + 1
    for label, place in enumerate(ndimage.find_objects(known)):
        if place is None:
            continue
        text = drawable_name(names[label], label)
        offset = np.array([place[1].start, place[0].start])
        for point, font in _places(known[place] == label + 1, text, size):
            canvas.text(
                tuple((point + offset).tolist()),
                text,
                PAPER,
                font,
                'mm',
                stroke_width=_HALO,
                stroke_fill=INK,
            )
    return np.array(sheet)


def _coloured(
    labels: np.ndarray, bare: np.ndarray, palette: Colours
) -> np.ndarray:
    """Return the colour of the label of each pixel, (H, W, 3) uint8.

    Pixels that are True in ``bare``, (H, W) bool, are black.
    """
    table = np.array([*palette, (0, 0, 0)], dtype=np.uint8)
    return table[np.where(bare, len(palette), labels)]


def _line_width(shape: Sequence[int]) -> int:
    return max(1, round(min(shape) / 500))


def _borders(values: np.ndarray, width: int) -> np.ndarray:
    """Return a mask of lines between different values, (H, W) bool."""
    kernel = np.ones((width + 1, width + 1), np.uint8)
    changes = cv2.morphologyEx(values, cv2.MORPH_GRADIENT, kernel)
    return changes.reshape(values.shape) > 0


def _places(
    mask: np.ndarray, text: str, size: int
) -> Iterator[tuple[np.ndarray, ImageFont.FreeTypeFont]]:
    """Find points (x, y) in a mask at which a text fits, and a font for each.

    There is at most one point for each connected region of the mask.
    """
    framed = np.pad(mask, 1).astype(np.uint8)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1]
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(
        framed[1:-1, 1:-1]
    )
    for part in range(1, count):
        left, top, width, height, _ = boxes[part]
        if height < _SMALLEST:
            continue
        place = slice(top, top + height), slice(left, left + width)
        inside = np.where(parts[place] == part, depth[place], 0)
        y, x = np.unravel_index(inside.argmax(), inside.shape)
        point = np.array([left + x, top + y])
        for letters in (size, max(_SMALLEST, round(0.75 * size))):
            font = load_font(letters, text)
            box = font.getbbox(text, 'mm', stroke_width=_HALO)
            if _fits(mask, box, *point):
                yield point, font
                break


def _fits(mask: np.ndarray, box: Sequence[float], x: int, y: int) -> bool:
    """Return whether a box at a point (x, y) is inside a mask.

    The box is (left, top, right, bottom) in pixels, relative to the point.
    """
    left, top, right, bottom = map(int, box)
    if x + left < 0 or y + top < 0:
        return False
    part = mask[y + top : y + bottom, x + left : x + right]
    return part.shape == (bottom - top, right - left) and bool(part.all())
