# SPDX-License-Identifier: Apache-2.0
"""Fonts of legends and captions."""

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

# A font of macOS that draws every letter as a box.
_NOT_LETTERS = 'LastResort'
# Installed fonts that were used before. They are tried first, because class
# names of a list share a script, and machines may have thousands of fonts.
_used: dict[str, None] = {}


def load_font(size: int, text: str = '') -> ImageFont.FreeTypeFont:
    """Load a font that has the letters of a text.

    Args:
        size (int): Height of the letters in pixels.
        text (str): Text to draw.

    Returns:
        ImageFont.FreeTypeFont: DejaVu Sans if it has all letters (Latin,
        Greek, Cyrillic, Arabic, Hebrew). Otherwise, an installed font that
        has all letters. If there is no such font, DejaVu Sans.
    """
    return _open(_file_with(frozenset(text)) or _default_file(), size)


def drawable_name(name: str, label: int) -> str:
    """Write the label number before a class name that no font can draw.

    Letters that are missing in a font are drawn as boxes, so that several
    names may look the same. The label number tells them apart.

    Args:
        name (str): Class name.
        label (int): Label of the class.

    Returns:
        str: The name, such as ``'cat'``. If no font has all its letters, the
        label number and the name, such as ``'3: ...'``.
    """
    return name if _file_with(frozenset(name)) else f'{label}: {name}'


@lru_cache(maxsize=16)
def _open(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@lru_cache(maxsize=4096)
def _file_with(letters: frozenset[str]) -> str | None:
    """Return the path of a font with all letters; None if there is none."""
    from matplotlib.ft2font import FT2Font

    points = {ord(letter) for letter in letters}
    if points <= _points_of_default():
        return _default_file()
    for file in (*_used, *_installed_fonts()):
        font = FT2Font(file)
        if all(font.get_char_index(point) for point in points):
            _used[file] = None
            return file
    return None


def _default_file() -> str:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf'
    return str(folder / 'DejaVuSans.ttf')


@lru_cache
def _points_of_default() -> frozenset[int]:
    """Return the code points of the letters that DejaVu Sans has."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(_default_file()).get_charmap())


@lru_cache
def _installed_fonts() -> tuple[str, ...]:
    """Return paths of installed fonts, upright fonts without serifs first."""
    from matplotlib.font_manager import findSystemFonts
    from matplotlib.ft2font import FT2Font

    ranked = []
    for file in findSystemFonts():
        try:
            font = FT2Font(file)
        except (OSError, RuntimeError):  # not readable, or only bitmaps
            continue
        family = font.family_name
        if not font.scalable or family.startswith(_NOT_LETTERS):
            continue
        special = bool(font.style_flags), 'Mono' in family
        ranked.append((*special, 'Sans' not in family, file))
    return tuple(file for *_, file in sorted(ranked))
