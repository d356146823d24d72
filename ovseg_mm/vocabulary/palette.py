# SPDX-License-Identifier: Apache-2.0
"""Default colours of classes, which depend on the class names."""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import ImageColor

Colour = tuple[int, int, int]

# Number of values of each channel among the colours to choose from.
_LEVELS = 18
# Distance in OKLab at which two colours are easy to distinguish.
_CLEAR = 10.0
# In a long list, no colour may be left at this distance. Then, a colour needs
# this share of the largest possible distance.
_SHARE = 0.7
# Largest difference of colours with the same name. Its three parts are divided
# by the numbers below: a darker red is still a red, but an orange is not.
_SAME_NAME = 10.0
_LIGHTNESS, _PURITY, _HUE = 2.6, 0.6, 0.4
_WORDS = re.compile('[a-z]+')
_LONGEST_NAME = 3


def class_palette(names: Sequence[str]) -> tuple[Colour, ...]:
    """Choose a colour for each class by its name.

    The SHA-256 of a class name gives a sequence of colours. The class takes
    the first colour that is far enough, in OKLab, from the colours of all
    classes before it. As a result, a class has the same colour in most lists,
    and a class that is added at the end does not change other colours. The
    palette is the same in every run and on every machine.

    If a name contains a colour of CSS (``'red car'``, ``'light blue'``), the
    class gets this colour. If another class has this colour already, the
    class gets a similar colour. ``'background'`` is black. Names without a
    colour never get black, white or grey.

    Args:
        names (Sequence[str]): L class names.

    Returns:
        tuple[Colour, ...]: L colours (red, green, blue) in [0, 255]. If there
        are 4500 names or fewer, all colours are different.
    """
    return _palette_of(tuple(names))


@lru_cache(maxsize=64)
def _palette_of(names: tuple[str, ...]) -> tuple[Colour, ...]:
    rgb, lab, vivid = _choices()
    # Distance of each choice to the nearest colour that is taken.
    distance = np.full(len(rgb), np.inf)
    colours = []
    for name in names:
        named = _named_colour(name)
        if named is None:
            order = fitting = _shuffled(vivid, name)
        else:
            order, fitting = _near(lab, named)
        if not distance[fitting].any():  # all fitting colours are taken
            free = order[distance[order] > 0]
            fitting = free[:1] if len(free) else order[:1]
        wanted = min(_CLEAR, _SHARE * distance[fitting].max())
        chosen = fitting[np.argmax(distance[fitting] >= wanted)]
        colours.append(tuple(rgb[chosen].tolist()))
        distance = np.minimum(distance, _distance(lab, lab[chosen]))
    return tuple(colours)


class _Choices(NamedTuple):
    """The N colours to choose from, in RGB, (N, 3), and in OKLab, (N, 3)."""

    rgb: np.ndarray
    lab: np.ndarray
    # Indices of the bright, saturated colours.
    vivid: np.ndarray


@lru_cache(maxsize=1)
def _choices() -> _Choices:
    levels = np.rint(np.linspace(0, 255, _LEVELS)).astype(np.int64)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing='ij'), -1)
    rgb = rgb.reshape(-1, 3)
    lab = _oklab(rgb)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    vivid = (lab[:, 0] > 35) & (lab[:, 0] < 93) & (chroma > 9)
    return _Choices(rgb, lab, np.flatnonzero(vivid))


def _named_colour(name: str) -> str | None:
    """Name of the first CSS colour in a class name; None if there is none."""
    words = _WORDS.findall(name.lower())
    if words == ['background']:
        return 'black'
    for start in range(len(words)):
        for count in range(_LONGEST_NAME, 0, -1):
            joined = ''.join(words[start : start + count])
            if joined in ImageColor.colormap:
                return joined
    return None


def _near(lab: np.ndarray, named: str) -> tuple[np.ndarray, np.ndarray]:
    """Sort colours by their distance to a CSS colour.

    Args:
        lab (np.ndarray): Colours to choose from in OKLab, (N, 3).
        named (str): Name of the CSS colour.

    Returns:
        tuple[np.ndarray, np.ndarray]: Indices of all N colours, nearest
        first; and indices of the colours that are so similar to the CSS
        colour that people give them the same name.
    """
    colour = _oklab(np.array([ImageColor.getrgb(named)]))[0]
    chroma = np.hypot(colour[1], colour[2])
    lightness = lab[:, 0] - colour[0]
    purity = np.hypot(lab[:, 1], lab[:, 2]) - chroma
    plane = ((lab[:, 1:] - colour[1:]) ** 2).sum(axis=1)
    difference = (
        (lightness / _LIGHTNESS) ** 2
        # A slight tint is visible in white, but not in red.
        + (purity / (_PURITY + 0.025 * chroma)) ** 2
        + (plane - purity**2) / _HUE**2
    )
    difference = difference.round(3)
    order = np.argsort(difference, kind='stable')
    return order, order[difference[order] < _SAME_NAME**2]


def _shuffled(items: np.ndarray, name: str) -> np.ndarray:
    """Shuffle items. The random order depends only on the class name."""
    digest = hashlib.sha256(name.lower().encode()).digest()
    keys = np.arange(1, len(items) + 1, dtype=np.uint64)
    # Multiples of an odd number are all different, modulo 2 ** 64.
    keys = keys * np.uint64(int.from_bytes(digest[:8], 'big') | 1)
    return items[np.argsort(keys, kind='stable')]


def _distance(lab: np.ndarray, colour: np.ndarray) -> np.ndarray:
    # Rounded, so that ties are resolved the same way on every machine.
    return np.sqrt(((lab - colour) ** 2).sum(axis=1)).round(3)


def _oklab(rgb: np.ndarray) -> np.ndarray:
    """Convert sRGB values in [0, 255], shape (N, 3), to OKLab times 100.

    OKLab (https://bottosson.github.io/posts/oklab) is a perceptual space
    like CIELAB. Unlike in CIELAB, a blue keeps its hue if it becomes darker
    or paler.
    """
    value = rgb / 255
    linear = np.where(
        value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4
    )
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return 100 * np.cbrt(linear @ to_cones.T) @ to_lab.T
