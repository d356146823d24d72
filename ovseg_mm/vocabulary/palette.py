# SPDX-License-Identifier: Apache-2.0
"""Colours for any number of labels."""

import math
from functools import lru_cache

import numpy as np

# Pixels without a label are often black, white or grey.
_AVOIDED = np.array([[0, 0, 0], [255, 255, 255], [128, 128, 128]])


@lru_cache(maxsize=32)
def distinct_palette(num_colours: int) -> tuple[tuple[int, int, int], ...]:
    """Choose colours that differ as much as possible.

    Each colour is the farthest, in CIELAB, from all earlier colours. So the
    first colours differ most, and a longer palette begins with the shorter
    one (up to 3375 colours). The result is the same in every run.

    Args:
        num_colours (int): Number of colours, at least 0.

    Returns:
        tuple[tuple[int, int, int], ...]: ``num_colours`` different (red,
        green, blue) in [0, 255].
    """
    steps = max(16, math.ceil((num_colours + len(_AVOIDED)) ** (1 / 3)) + 1)
    levels = np.rint(np.linspace(0, 255, steps)).astype(np.int64)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing='ij'), -1)
    grid = grid.reshape(-1, 3)
    lab = _srgb_to_lab(grid)
    distance = np.full(len(grid), np.inf)
    for colour in _srgb_to_lab(_AVOIDED):
        distance = np.minimum(distance, _squared_distance(lab, colour))
    chosen = []
    for _ in range(num_colours):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(
            distance, _squared_distance(lab, lab[chosen[-1]])
        )
    return tuple(tuple(colour) for colour in grid[chosen].tolist())


def _squared_distance(lab: np.ndarray, colour: np.ndarray) -> np.ndarray:
    # Rounded, so that ties fall the same way on every machine.
    return ((lab - colour) ** 2).sum(axis=1).round(6)


def _srgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """Convert sRGB values in [0, 255], shape (N, 3), to CIELAB (D65)."""
    value = rgb / 255
    linear = np.where(
        value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4
    )
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(
        xyz > (6 / 29) ** 3,
        np.cbrt(xyz),
        xyz / (3 * (6 / 29) ** 2) + 4 / 29,
    )
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
