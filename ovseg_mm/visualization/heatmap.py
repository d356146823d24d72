# SPDX-License-Identifier: Apache-2.0
"""Drawing of the scores of one class over an image.

Letters: H, W pixels.
"""

import cv2
import numpy as np

from ovseg_mm.utils.errors import InputError

# Opacity of the colours over the image.
_ALPHA = 0.6


def draw_heatmap(
    image: np.ndarray,
    scores: np.ndarray,
    low: float | None = None,
    high: float | None = None,
) -> np.ndarray:
    """Draw scores over their image, from blue (low) to red (high).

    Args:
        image (np.ndarray): RGB of shape (H, W, 3) and type uint8.
        scores (np.ndarray): (H, W) float.
        low (float, optional): Score of the coldest colour. None: the lowest.
        high (float, optional): Score of the hottest colour. None: the
            highest.

    Returns:
        np.ndarray: RGB, (H, W, 3) uint8.

    Raises:
        InputError: If the sizes of image and scores differ.
    """
    if scores.shape != image.shape[:2]:
        raise InputError(
            f'the scores have shape {scores.shape}, but their image has '
            f'{image.shape[:2]}'
        )
    low = float(scores.min()) if low is None else low
    high = float(scores.max()) if high is None else high
    heat = (scores.astype(np.float32) - low) / max(high - low, 1e-12)
    heat = np.rint(heat.clip(0, 1) * 255).astype(np.uint8)
    colours = cv2.applyColorMap(heat, cv2.COLORMAP_TURBO)[..., ::-1]
    mixed = image * (1 - _ALPHA) + colours.reshape(image.shape) * _ALPHA
    return np.rint(mixed).astype(np.uint8)
