# SPDX-License-Identifier: Apache-2.0
"""The letters of legends and captions."""

from functools import lru_cache
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font
from PIL import ImageFont


def load_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans: Latin, Greek, Cyrillic, Arabic and Hebrew letters.

    Args:
        size (int): Height in pixels.
    """
    return ImageFont.truetype(_font_file(), size)


def drawable_name(name: str, label: int) -> str:
    """A name as it is drawn: with its number if letters are missing.

    Args:
        name (str): Name of a class; letters that the font lacks become boxes.
        label (int): Its label.
    """
    known = _letters()
    if all(ord(letter) in known for letter in name):
        return name
    return f'{label}: {name}'


def _font_file() -> str:
    folder = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf'
    return str(folder / 'DejaVuSans.ttf')


@lru_cache
def _letters() -> frozenset[int]:
    """Code points that the font draws."""
    return frozenset(FT2Font(_font_file()).get_charmap())
