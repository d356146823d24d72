# SPDX-License-Identifier: Apache-2.0
"""Drawing of mask proposals with captions."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from .font import load_font

_PAPER = (255, 255, 255)
_INK = (20, 20, 20)
_EDGE = (255, 210, 0)
# Factor that darkens pixels outside of a mask.
_DIM = 0.25


def draw_proposals(
    image: np.ndarray,
    masks: np.ndarray,
    captions: Sequence[Sequence[str]],
    width: int,
) -> np.ndarray:
    """Draw a small picture of each mask proposal, in rows.

    A picture shows the image, darkened outside the mask, below a caption.

    Args:
        image (np.ndarray): RGB image, (H, W, 3) uint8.
        masks (np.ndarray): Masks of n >= 1 proposals, (n, H, W) bool.
        captions (Sequence[Sequence[str]]): Lines of the caption of each
            proposal. All captions have the same number of lines.
        width (int): Width of a row in pixels.

    Returns:
        np.ndarray: RGB drawing of all rows, (height, ``width``, 3) uint8.
    """
    height, breadth = image.shape[:2]
    columns = min(max(1, width // 180), len(masks))
    gap = max(4, width // 200)
    cell = (width - gap * (columns - 1)) // columns
    tall = max(1, round(height * cell / breadth))
    size = max(11, min(round(cell / 16), 28))
    line = round(1.3 * size)
    top = line * len(captions[0]) + line // 3
    rows = math.ceil(len(masks) / columns)
    sheet = Image.new('RGB', (width, rows * (top + tall + gap)), _PAPER)
    canvas = ImageDraw.Draw(sheet)
    font = load_font(size)
    for index, (mask, lines) in enumerate(zip(masks, captions)):
        left = index % columns * (cell + gap)
        above = index // columns * (top + tall + gap)
        for number, text in enumerate(lines):
            while text and font.getlength(text) > cell:
                text = text[:-1]
            place = left, above + number * line + line // 2
            canvas.text(place, text, _INK, font, 'lm')
        picture = Image.fromarray(_highlight(image, mask))
        picture = picture.resize((cell, tall))
        sheet.paste(picture, (left, above + top))
    return np.array(sheet)


def _highlight(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Darken the pixels outside of a mask and draw the edge of the mask."""
    dimmed = (image * _DIM).astype(np.uint8)
    picture = np.where(mask[..., None], image, dimmed)
    thickness = max(1, round(min(image.shape[:2]) / 200))
    edges, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    return cv2.drawContours(
        np.ascontiguousarray(picture), edges, -1, _EDGE, thickness
    )
