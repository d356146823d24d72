# SPDX-License-Identifier: Apache-2.0
"""Drawing of the scores of one class."""

import math

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ovseg_mm.utils.errors import InputError

from .font import load_font
from .legend import INK, PAPER, font_size
from .overlay import check_image, enlargement

_OPACITY = 0.7


def draw_heatmap(
    image: np.ndarray,
    scores: np.ndarray,
    low: float | None = None,
    high: float | None = None,
) -> np.ndarray:
    """Draw scores over a grey copy of an image, and a colour bar below it.

    Colours go from dark blue (low score) through green to yellow (high
    score). Equal differences of scores look equally large.

    Args:
        image (np.ndarray): RGB image, (H, W, 3) uint8.
        scores (np.ndarray): Score of each pixel, (H, W) float. Pixels with
            NaN or infinite scores stay grey.
        low (float, optional): Score of the darkest colour. None: the lowest
            score.
        high (float, optional): Score of the brightest colour. None: the
            highest score.

    Returns:
        np.ndarray: RGB drawing of height H' and width W' with the colour bar,
        (H', W', 3) uint8. Small images are enlarged by an integer factor.

    Raises:
        InputError: If the image is not RGB uint8, or image and scores differ
            in size.
    """
    check_image(image)
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != image.shape[:2]:
        raise InputError(
            f'the scores have shape {scores.shape}, but the image has height '
            f'and width {image.shape[:2]}; give one score for each pixel'
        )
    finite = np.isfinite(scores)
    known = scores[finite] if finite.any() else np.zeros(1)
    low = float(known.min()) if low is None else low
    high = float(known.max()) if high is None else high
    # Without a range, all scores have the darkest colour.
    span = high - low if high > low else 1.0
    steps = np.where(finite, (scores - low) / span, 0).clip(0, 1) * 255
    colours = _coloured(np.rint(steps).astype(np.uint8))
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    grey = np.repeat(grey.reshape(*scores.shape, 1), 3, axis=2)
    drawn = cv2.addWeighted(grey, 1 - _OPACITY, colours, _OPACITY, 0)
    drawn = np.where(finite[..., None], drawn.reshape(grey.shape), grey)
    factor = enlargement(image.shape)
    drawn = drawn.repeat(factor, axis=0).repeat(factor, axis=1)
    bar = _draw_bar(low, high, drawn.shape[1])
    missing = bar.shape[1] - drawn.shape[1]
    drawn = np.pad(drawn, ((0, 0), (0, missing), (0, 0)), constant_values=255)
    return np.concatenate([drawn, bar])


def _coloured(values: np.ndarray) -> np.ndarray:
    """Convert values, (H, W) uint8, to RGB colours, (H, W, 3) uint8."""
    bgr = cv2.applyColorMap(values, cv2.COLORMAP_VIRIDIS)
    return bgr.reshape(*values.shape, 3)[..., ::-1].copy()


def _draw_bar(low: float, high: float, width: int) -> np.ndarray:
    """Draw a colour bar with the lowest and highest score at its ends."""
    size = font_size(width)
    font = load_font(size)
    pad = size // 2
    # Scores are rounded to three digits of their difference.
    digits = 3 - math.ceil(math.log10(high - low)) if high > low else 3
    ends = [f'{end:.{min(max(0, digits), 9)}f}' for end in (low, high)]
    lengths = [math.ceil(font.getlength(end)) for end in ends]
    left = lengths[0] + 2 * pad
    width = max(width, left + lengths[1] + 2 * pad + 8 * size)
    right = min(width - lengths[1] - 2 * pad, left + 16 * size)
    sheet = Image.new('RGB', (width, 2 * size), PAPER)
    ramp = np.linspace(0, 255, right - left).astype(np.uint8)
    colours = Image.fromarray(_coloured(np.tile(ramp, (size, 1))))
    sheet.paste(colours, (left, size // 2))
    canvas = ImageDraw.Draw(sheet)
    canvas.text((pad, size), ends[0], INK, font, 'lm')
    canvas.text((right + pad, size), ends[1], INK, font, 'lm')
    return np.array(sheet)
