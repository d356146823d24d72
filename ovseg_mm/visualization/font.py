# SPDX-License-Identifier: Apache-2.0
"""The font of legends and captions."""

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont


def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans: Latin, Greek, Cyrillic, Arabic and Hebrew letters.

    Args:
        size (int): Height in pixels.

    Returns:
        ImageFont.FreeTypeFont: The font.
    """
    return ImageFont.truetype(_font_file(), size)


def drawable_name(name: str, label: int) -> str:
    """Prefix a class name with its label if the font lacks some letters.

    Letters that the font lacks are drawn as boxes. Only the label tells such
    names apart.

    Args:
        name (str): Class name.
        label (int): Label of the class.

    Returns:
        str: The name, such as ``'cat'``, or ``'3: ...'``.
    """
    known = _code_points()
    if all(ord(letter) in known for letter in name):
        return name
    return f'{label}: {name}'


def _font_file() -> str:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf'
    return str(folder / 'DejaVuSans.ttf')


@lru_cache
def _code_points() -> frozenset[int]:
    """Code points that the font has."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(_font_file()).get_charmap())
