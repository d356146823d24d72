# SPDX-License-Identifier: Apache-2.0
"""Drawn scenes of the toy world, with exact labels.

A scene shows objects in front of one or two textured background areas, which
are called grounds. The class of an object is its pattern and colour, such as
"striped red"; its shape, size and angle are random. The class of a ground is
"grass", "sand", "water" or "stone".
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from ovseg_mm.utils.errors import InputError

COLOURS = {
    'red': (216, 50, 42),
    'green': (58, 178, 74),
    'blue': (46, 92, 220),
    'yellow': (242, 208, 48),
    'purple': (150, 62, 196),
    'white': (244, 243, 238),
}
PATTERNS = ('plain', 'striped', 'dotted', 'checkered', 'starry', 'speckled')
GROUNDS = ('grass', 'sand', 'water', 'stone')
OBJECTS = tuple(
    f'{pattern} {colour}' for colour in COLOURS for pattern in PATTERNS
)
# Class names in label order.
CLASSES = OBJECTS + GROUNDS
# Objects that training scenes do not show. Each of their colours and patterns
# is in some seen class.
UNSEEN = (
    'plain red',
    'checkered red',
    'striped green',
    'dotted blue',
    'speckled blue',
    'checkered yellow',
    'starry purple',
    'striped purple',
    'speckled white',
)
SEEN = tuple(name for name in OBJECTS if name not in UNSEEN)
# Brightness of the dark parts of a pattern.
DARK = 0.3
# Smallest number of pixels of a visible class.
VISIBLE = 60


class Scene(NamedTuple):
    """Drawn image with its label map and the classes that it shows.

    Attributes:
        image (np.ndarray): RGB image, (H, W, 3) uint8.
        labels (np.ndarray): Label of each pixel, an index into
            :data:`CLASSES`, (H, W) uint8.
        objects (tuple[str, ...]): Class names of the visible objects,
            without repetition.
        grounds (tuple[str, ...]): Class names of the visible background areas,
            such as ``'grass'``.
    """

    image: np.ndarray
    labels: np.ndarray
    objects: tuple[str, ...]
    grounds: tuple[str, ...]


def make_scene(
    rng: np.random.Generator, size: tuple[int, int], objects: Sequence[str]
) -> Scene:
    """Draw a scene of certain objects in front of a random background.

    Args:
        rng (np.random.Generator): Random generator.
        size (tuple[int, int]): Height and width, in [32, 512] pixels.
        objects (Sequence[str]): Class names of the objects, from
            :data:`OBJECTS`. An object may cover parts of earlier objects.

    Returns:
        Scene: Image, label map and visible classes. A class is visible if
        at least ``VISIBLE`` pixels show it.

    Raises:
        InputError: If the height or width is not in [32, 512].
    """
    if not 32 <= min(size) <= max(size) <= 512:
        raise InputError(
            f'a scene of {size[0]}x{size[1]} pixels cannot be drawn; choose '
            'a height and a width in [32, 512]'
        )
    image, labels = _draw_grounds(rng, size)
    taken = np.empty((0, 2))
    for name in objects:
        centre = _free_place(rng, size, taken)
        taken = np.concatenate([taken, centre[None]])
        _draw_object(rng, image, labels, name, centre)
    image *= rng.uniform(0.88, 1.06)
    image += rng.normal(0, 2, (*size, 1)).astype(np.float32)
    image = image.clip(0, 255).astype(np.uint8)
    counts = np.bincount(labels.ravel(), minlength=len(CLASSES))
    visible = [name for name, n in zip(CLASSES, counts) if n >= VISIBLE]
    return Scene(
        image,
        labels,
        tuple(name for name in visible if name in OBJECTS),
        tuple(name for name in visible if name in GROUNDS),
    )


# Grounds


def _draw_grounds(
    rng: np.random.Generator, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a background of one or two areas, such as grass and water.

    Args:
        rng (np.random.Generator): Random generator.
        size (tuple[int, int]): Height H and width W.

    Returns:
        tuple[np.ndarray, np.ndarray]: RGB image in about [0, 255], (H, W, 3)
        float32, and label of each pixel, (H, W) uint8.
    """
    first, second = rng.permutation(GROUNDS)[:2].tolist()
    image = _ground(rng, size, first)
    labels = np.full(size, CLASSES.index(first), np.uint8)
    if rng.random() < 0.5:
        y, x = _coordinates(size)
        angle = rng.uniform(0, 2 * np.pi)
        # A curve near the middle separates the two grounds.
        along = x * np.cos(angle) + y * np.sin(angle)
        across = y * np.cos(angle) - x * np.sin(angle)
        wave = np.sin(along / rng.uniform(9, 20) + rng.uniform(0, 6))
        offset = rng.uniform(-0.2, 0.2) * min(size)
        other = across + rng.uniform(2, 6) * wave > offset
        image[other] = _ground(rng, size, second)[other]
        labels[other] = CLASSES.index(second)
    return image, labels


def _ground(
    rng: np.random.Generator, size: tuple[int, int], name: str
) -> np.ndarray:
    """Draw the texture of one background class, RGB, (H, W, 3) float32."""
    fine, mid, broad = (_noise(rng, size, scale) for scale in (0, 3, 10))
    y, x = _coordinates(size)
    if name == 'grass':
        blades = _noise(rng, size, -4)
        light, colour = 26 * blades + 14 * broad, (104, 142, 62)
    elif name == 'sand':
        ripples = np.sin((y + 0.3 * x) / 2.4 + 2.5 * broad)
        light, colour = 7 * fine + 7 * ripples + 6 * broad, (214, 188, 142)
    elif name == 'water':
        waves = np.sin(y / 1.7 + 1.6 * mid + 2 * broad)
        light, colour = 13 * waves + 9 * mid, (88, 152, 178)
    else:
        cracks = np.abs(mid) < 0.14
        light, colour = 18 * broad + 6 * fine - 42 * cracks, (136, 132, 130)
    tint = np.asarray(colour, np.float32) + rng.normal(0, 5, 3)
    return light[..., None] + tint.astype(np.float32)


@cache
def _noise_bank(scale: int) -> np.ndarray:
    """Make smooth periodic noise with standard deviation 1.

    Args:
        scale (int): Number of pixels over which the noise is smooth. A
            negative value -n means n pixels, only in the vertical direction.

    Returns:
        np.ndarray: Noise with mean of about 0, (512, 512) float32.
    """
    noise = np.random.default_rng(abs(scale)).normal(size=(512, 512))
    for axis in (0,) if scale < 0 else (0, 1):
        frequency = np.fft.fftfreq(512).reshape((-1, 1) if axis == 0 else -1)
        low_pass = np.exp(-0.5 * (2 * np.pi * frequency * abs(scale)) ** 2)
        spectrum = np.fft.fft(noise, axis=axis) * low_pass
        noise = np.fft.ifft(spectrum, axis=axis).real
    return (noise / noise.std()).astype(np.float32)


def _noise(
    rng: np.random.Generator, size: tuple[int, int], scale: int
) -> np.ndarray:
    """Cut a random part, (H, W), out of the noise of :func:`_noise_bank`."""
    top, left = rng.integers(0, 512, 2)
    bank = _noise_bank(scale)
    rows = np.arange(top, top + size[0]) % 512
    columns = np.arange(left, left + size[1]) % 512
    return bank[rows[:, None], columns]


def _coordinates(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Compute the coordinates of pixels relative to the image centre.

    The result is y, (H, 1), and x, (1, W), in pixels.
    """
    y = np.arange(size[0], dtype=np.float32)[:, None] - size[0] / 2
    x = np.arange(size[1], dtype=np.float32)[None] - size[1] / 2
    return y, x


# Objects


def _free_place(
    rng: np.random.Generator, size: tuple[int, int], taken: np.ndarray
) -> np.ndarray:
    """Choose the one of 8 random positions that is farthest from objects.

    Args:
        rng (np.random.Generator): Random generator.
        size (tuple[int, int]): Height and width of the scene.
        taken (np.ndarray): Positions (y, x) of the n objects that are in the
            scene already, (n, 2).

    Returns:
        np.ndarray: Position (y, x) in pixels, (2,).
    """
    places = rng.uniform(0.12, 0.88, (8, 2)) * size
    if not len(taken):
        return places[0]
    gaps = np.linalg.norm(places[:, None] - taken, axis=-1).min(axis=1)
    return places[gaps.argmax()]


def _draw_object(
    rng: np.random.Generator,
    image: np.ndarray,
    labels: np.ndarray,
    name: str,
    centre: np.ndarray,
) -> None:
    """Draw one object into an image and its label map, in place."""
    radius = min(rng.uniform(14, 30), 0.4 * min(labels.shape))
    stretch = rng.uniform(1, 1.3)
    reach = int(1.25 * stretch * radius) + 2
    top, left = np.maximum(centre.astype(int) - reach, 0)
    bottom, right = centre.astype(int) + reach
    box = slice(top, bottom), slice(left, right)
    height, width = labels[box].shape
    y = (np.arange(height, dtype=np.float32) + top - centre[0])[:, None]
    x = (np.arange(width, dtype=np.float32) + left - centre[1])[None]

    u, v = _turned(rng, x, y)
    outline = _SHAPES[rng.integers(len(_SHAPES))]
    u, v = u / stretch, v * stretch
    angle = np.arctan2(v, u)
    inside = radius * outline(rng, angle) - np.hypot(u, v)
    cover = (inside + 0.5).clip(0, 1)[..., None]

    pattern, colour = name.split()
    u, v = _turned(rng, x, y)
    light = _PATTERN_LIGHT[pattern](
        rng, u + rng.uniform(0, 9), v + rng.uniform(0, 9)
    )
    shade = (DARK + (1 - DARK) * light) * rng.uniform(0.92, 1.04)
    tint = np.asarray(COLOURS[colour]) + rng.normal(0, 6, 3)
    paint = shade[..., None] * tint.astype(np.float32)
    image[box] += cover * (paint - image[box])
    labels[box][cover[..., 0] > 0.5] = CLASSES.index(name)


def _turned(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate the coordinates x and y by a random angle."""
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _disc(rng: np.random.Generator, angle: np.ndarray) -> np.ndarray:
    return np.ones_like(angle)


def _polygon(rng: np.random.Generator, angle: np.ndarray) -> np.ndarray:
    sector = 2 * np.pi / rng.integers(3, 7)
    return 1.1 * np.cos(sector / 2) / np.cos(angle % sector - sector / 2)


def _star(rng: np.random.Generator, angle: np.ndarray) -> np.ndarray:
    sector = 2 * np.pi / rng.integers(4, 7)
    return 0.7 + 0.5 * np.abs(angle % sector / sector * 2 - 1)


def _blob(rng: np.random.Generator, angle: np.ndarray) -> np.ndarray:
    phases = rng.uniform(0, 2 * np.pi, 2)
    return (
        1
        + 0.14 * np.cos(2 * angle + phases[0])
        + 0.1 * np.cos(3 * angle + phases[1])
    )


# Shapes: functions that return, for each angle, the radius of the outline
# divided by the radius of the object.
_SHAPES = (_disc, _polygon, _star, _blob)


def _plain(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    return np.ones_like(u)


def _striped(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    period = rng.uniform(6, 8)
    return (0.5 + 1.5 * np.sin(2 * np.pi / period * u)).clip(0, 1)


def _checkered(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    factor = 2 * np.pi / rng.uniform(8, 10)
    return (0.5 + 2.5 * np.sin(factor * u) * np.sin(factor * v)).clip(0, 1)


def _spots(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, share: float
) -> np.ndarray:
    """Draw round spots on a grid: brightness 1 in spots, 0 between them.

    Args:
        rng (np.random.Generator): Random generator.
        u (np.ndarray): Rotated x coordinate of each pixel.
        v (np.ndarray): Rotated y coordinate of each pixel.
        share (float): Area of the spots as a fraction of the whole area.

    Returns:
        np.ndarray: Brightness of each pixel, in [0, 1].
    """
    period = rng.uniform(6.5, 8.5)
    # Every other row is shifted by half a cell.
    row = np.floor(v / period)
    u = (u + row % 2 * period / 2) % period - period / 2
    v = v - row * period - period / 2
    return (period * np.sqrt(share / np.pi) - np.hypot(u, v) + 0.5).clip(0, 1)


def _dotted(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    return 1 - _spots(rng, u, v, 0.28)


def _starry(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    return _spots(rng, u, v, 0.2)


def _speckled(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    return (0.7 + 1.5 * _noise(rng, u.shape, 1)).clip(0, 1)


# Patterns: functions from rotated coordinates to brightness in [0, 1].
_PATTERN_LIGHT: dict[str, Callable] = dict(
    plain=_plain,
    striped=_striped,
    dotted=_dotted,
    checkered=_checkered,
    starry=_starry,
    speckled=_speckled,
)
