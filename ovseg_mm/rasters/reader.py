# SPDX-License-Identifier: Apache-2.0
"""Windows of a raster as RGB images."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import image_size, orientation_text

from .tiles import Span

# TIFF tags that say where a raster lies: pixel scale, transformation, keys.
_GEO_TAGS = (33550, 34264, 34735)
# Longest side of the reduced raster that gives the stretch of brightness.
_SAMPLE = 1024
# Shares of the values that become 0 and 255.
_DARK, _BRIGHT = 2, 98
# Bytes of GDAL's cache; its default is a share of the machine's memory.
_CACHE = 128 << 20


def import_rasterio() -> ModuleType:
    """The library rasterio.

    Returns:
        ModuleType: The library.

    Raises:
        ImportError: If it is not installed; the message names the extra.
    """
    try:
        import rasterio
    except ImportError as error:
        raise ImportError(
            'reading a raster in windows needs rasterio; install it with: '
            "pip install 'ovseg_mm[geo]'"
        ) from error
    return rasterio


def is_georeferenced(path: str | Path) -> bool:
    """Whether a TIFF file has a georeference.

    Args:
        path (str | Path): Any file; only its header is read, by Pillow.

    Returns:
        bool: False for other files and for files that cannot be read.
    """
    if Path(path).suffix.lower() not in ('.tif', '.tiff'):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(path) as image:
                tags = getattr(image, 'tag_v2', {})
                return any(tag in tags for tag in _GEO_TAGS)
    except Exception:  # Pillow raises many types of error
        # Pillow refuses many kinds of TIFF file that rasterio reads.
        return _has_place(path)


def _has_place(path: str | Path) -> bool:
    try:
        with open_raster(path) as source:
            return source.crs is not None
    except (ImportError, InputError):
        return False


@contextlib.contextmanager
def open_raster(path: str | Path) -> Iterator[Any]:
    """Open a raster with a small cache; one without a place is no surprise.

    Args:
        path (str | Path): The file.

    Yields:
        Any: rasterio's open data set.

    Raises:
        ImportError: If rasterio is not installed.
        InputError: If the file cannot be read as a raster.
    """
    rasterio = import_rasterio()
    try:
        with (
            rasterio.Env(GDAL_CACHEMAX=_CACHE),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter(
                'ignore', rasterio.errors.NotGeoreferencedWarning
            )
            with rasterio.open(path) as source:
                yield source
    except rasterio.errors.RasterioIOError as error:
        raise InputError(
            f'{path} cannot be read as a raster; it is damaged or not an '
            f'image ({error})'
        ) from error


class RasterReader:
    """Reads windows of a raster as RGB, 8 bits a channel.

    Bytes stay as they are. Values of more than 8 bits are stretched: 2 % of
    the pixels become 0 and 2 % become 255 in each band, measured once on the
    reduced raster, so that all windows have one brightness.

    >>> with RasterReader(path) as reader:
    ...     rgb, valid = reader.read(rows[0], columns[0])

    Args:
        path (str | Path): GeoTIFF, or another file that GDAL reads.
        bands (Sequence[int], optional): Bands for red, green and blue,
            counted from 1, or one band for grey. None: the bands that the
            file calls red, green and blue; else the first three; else the
            first.

    Raises:
        ImportError: If rasterio is not installed.
        InputError: If the file cannot be read, has not the bands, or is
            stored rotated.
    """

    def __init__(
        self, path: str | Path, bands: Sequence[int] | None = None
    ) -> None:
        self.path = Path(path)
        self._stack = contextlib.ExitStack()
        self.source = self._stack.enter_context(open_raster(path))
        try:
            _check_upright(self.source, self.path)
            self.bands = _bands(self.source, bands, self.path)
            self._table = _colour_table(self.source, self.bands)
            self._limits = _limits(self.source, self.bands)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> 'RasterReader':
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.source.height, self.source.width

    def read(self, rows: Span, columns: Span) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of a tile.

        Args:
            rows (Span): Tile along the height.
            columns (Span): Tile along the width.

        Returns:
            tuple[np.ndarray, np.ndarray]: RGB, (h, w, 3) uint8; and which
            pixels hold data, (h, w) bool.
        """
        window = ((rows.start, rows.stop), (columns.start, columns.stop))
        return self._pixels(window=window)

    def reduced(self, longest: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the whole raster at a reduced size.

        Args:
            longest (int): Largest allowed side in pixels.

        Returns:
            tuple[np.ndarray, np.ndarray]: See :meth:`read`.
        """
        return self._pixels(out_shape=reduced_size(self.size, longest))

    def _pixels(self, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        values = _read(self.source, self.bands, self.path, **options)
        valid = _valid(self.source, self.bands, values, **options)
        if self._table is not None:
            return self._table[values[0]], valid
        if self._limits is not None:
            values = _stretched(values, *self._limits)
        if len(values) == 1:
            values = np.repeat(values, 3, axis=0)
        rgb = np.ascontiguousarray(values.transpose(1, 2, 0))
        rgb[~valid] = 0
        return rgb, valid


def reduced_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Size with the same aspect ratio and a longest side.

    Args:
        size (tuple[int, int]): (H, W) in pixels.
        longest (int): Largest allowed side in pixels.

    Returns:
        tuple[int, int]: (H, W), each at least 1.
    """
    factor = min(1, longest / max(size))
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width


def _check_upright(source: Any, path: Path) -> None:
    if source.driver not in ('JPEG', 'GTiff') or source.crs is not None:
        return
    try:
        orientation = image_size(path)[1]
    except Exception:  # Pillow cannot read it, so it says nothing
        return
    if orientation != 1:
        raise InputError(
            f'{path} must be read in windows, but by its EXIF orientation '
            f'it is {orientation_text(orientation)}; save it upright first'
        )


def _bands(
    source: Any, wanted: Sequence[int] | None, path: Path
) -> tuple[int, ...]:
    if wanted is None:
        names = [colour.name for colour in source.colorinterp]
        if {'red', 'green', 'blue'} <= set(names):
            return tuple(
                names.index(name) + 1 for name in ('red', 'green', 'blue')
            )
        return (1, 2, 3) if source.count >= 3 else (1,)
    missing = [band for band in wanted if not 1 <= band <= source.count]
    if missing or len(wanted) not in (1, 3):
        raise InputError(
            f'--bands {" ".join(map(str, wanted))} does not fit {path}, which '
            f'has the bands 1 to {source.count}; name three of them, for red, '
            'green and blue, or one'
        )
    return tuple(wanted)


def _colour_table(source: Any, bands: tuple[int, ...]) -> np.ndarray | None:
    """Colours (256, 3) of a raster with a palette."""
    if len(bands) > 1 or source.colorinterp[bands[0] - 1].name != 'palette':
        return None
    table = np.zeros((256, 3), np.uint8)
    for value, colour in source.colormap(bands[0]).items():
        table[value] = colour[:3]
    return table


def _limits(
    source: Any, bands: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Values that become 0 and 255, (C, 1, 1) each; None for bytes."""
    if all(source.dtypes[band - 1] == 'uint8' for band in bands):
        return None
    size = reduced_size((source.height, source.width), _SAMPLE)
    values = _read(source, bands, source.name, out_shape=size)
    valid = _valid(source, bands, values, out_shape=size)
    if not valid.any():
        return np.zeros((len(bands), 1, 1)), np.ones((len(bands), 1, 1))
    low, high = np.percentile(values[:, valid], (_DARK, _BRIGHT), axis=1)
    return low[:, None, None], high[:, None, None]


def _stretched(
    values: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    scale = 255 / np.maximum(high - low, np.finfo(np.float32).tiny)
    shades = (values - low).astype(np.float32) * scale.astype(np.float32)
    return np.nan_to_num(shades).clip(0, 255).astype(np.uint8)


def _read(
    source: Any, bands: tuple[int, ...], path: Any, **options: Any
) -> np.ndarray:
    from rasterio.errors import RasterioIOError

    if 'out_shape' in options:
        options['out_shape'] = (len(bands), *options['out_shape'])
    try:
        return source.read(list(bands), **options)
    except RasterioIOError as error:
        raise InputError(
            f'{path} cannot be read to its end; it is damaged ({error})'
        ) from error


def _valid(
    source: Any, bands: tuple[int, ...], values: np.ndarray, **options: Any
) -> np.ndarray:
    """Pixels with data, (h, w) bool."""
    if 'out_shape' in options:
        options['out_shape'] = (len(bands), *options['out_shape'])
    valid = source.read_masks(list(bands), **options).any(axis=0)
    if values.dtype.kind == 'f':
        valid &= np.isfinite(values).all(axis=0)
    return valid
