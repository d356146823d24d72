# SPDX-License-Identifier: Apache-2.0
"""Parts of a raster as RGB images."""

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

# TIFF tags of a georeference: pixel scale, transformation, keys.
_GEO_TAGS = (33550, 34264, 34735)
# Longest side of the reduced raster whose values set the brightness.
_SAMPLE = 1024
# Values at these percentiles become 0 and 255.
_DARK, _BRIGHT = 2, 98
# Bytes of GDAL's cache; the default depends on the memory of the machine.
_CACHE = 128 << 20


def import_rasterio() -> ModuleType:
    """Import the library rasterio.

    Returns:
        ModuleType: The library.

    Raises:
        ImportError: If rasterio is not installed; the message says how to
            install it.
    """
    try:
        import rasterio
    except ImportError as error:
        raise ImportError(
            'reading a raster in tiles needs rasterio; install it with: '
            "pip install 'ovseg_mm[geo]'"
        ) from error
    return rasterio


def is_georeferenced(path: str | Path) -> bool:
    """Whether a file is a TIFF file with a georeference.

    Args:
        path (str | Path): Any file; only the header is read.

    Returns:
        bool: True for a TIFF file with a georeference; False for any other
        file, and if the file cannot be read.
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
        # Pillow cannot read many TIFF files that rasterio can.
        return _has_place(path)


def _has_place(path: str | Path) -> bool:
    try:
        with open_raster(path) as source:
            return source.crs is not None
    except (ImportError, InputError):
        return False


@contextlib.contextmanager
def open_raster(path: str | Path) -> Iterator[Any]:
    """Context manager that opens a raster with a small block cache of GDAL.

    rasterio's warning about a missing georeference is suppressed.

    Args:
        path (str | Path): File of the raster.

    Yields:
        Any: The opened raster, a ``rasterio.DatasetReader``.

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
            f'{path} cannot be read as a raster; the file is damaged or not '
            f'an image ({error})'
        ) from error


class RasterReader:
    """Read parts of a raster as RGB images with 8 bits per channel.

    Values of 8 bits are not changed. Values of other types are stretched: in
    each band, the darkest 2 % of the values become 0 and the brightest 2 %
    become 255. These limits come from a reduced image of the whole raster, so
    that all parts have the same brightness.

    >>> with RasterReader('field.tif') as reader:
    ...     rows = spans(reader.size[0], tile=640, overlap=80)
    ...     columns = spans(reader.size[1], tile=640, overlap=80)
    ...     rgb, valid = reader.read(rows[0], columns[0])

    Args:
        path (str | Path): GeoTIFF, or another file that GDAL can read.
        bands (Sequence[int], optional): Bands for red, green and blue,
            counted from 1, or one band for grey. None: the bands that the
            file marks as red, green and blue. If no bands are marked: the
            first three bands. If the file has fewer than three bands: only
            the first band.

    Raises:
        ImportError: If rasterio is not installed.
        InputError: If the file cannot be read, lacks one of ``bands``, or has
            an EXIF orientation other than upright.
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
        """Height and width of the raster in pixels."""
        return self.source.height, self.source.width

    def read(self, rows: Span, columns: Span) -> tuple[np.ndarray, np.ndarray]:
        """Read the pixels of a tile.

        Args:
            rows (Span): Rows ``start`` to ``stop`` (exclusive) are read.
            columns (Span): The same for columns.

        Returns:
            tuple[np.ndarray, np.ndarray]: RGB image, (height, width, 3)
            uint8; and mask of the pixels that contain data, (height, width)
            bool.
        """
        window = ((rows.start, rows.stop), (columns.start, columns.stop))
        return self._pixels(window=window)

    def reduced(self, longest: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the whole raster at a reduced size.

        Args:
            longest (int): Largest allowed length of the longer side, in
                pixels.

        Returns:
            tuple[np.ndarray, np.ndarray]: RGB image, (height, width, 3)
            uint8; and mask of the pixels that contain data, (height, width)
            bool.
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
    """Reduce an image size until its longer side fits a limit.

    The aspect ratio is kept.

    Args:
        size (tuple[int, int]): Height and width in pixels.
        longest (int): Largest allowed length of the longer side, in pixels.

    Returns:
        tuple[int, int]: Height and width, at least 1. A ``size`` within the
        limit is returned unchanged.
    """
    factor = min(1, longest / max(size))
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width


def _check_upright(source: Any, path: Path) -> None:
    if source.driver not in ('JPEG', 'GTiff') or source.crs is not None:
        return
    try:
        orientation = image_size(path)[1]
    except Exception:  # Pillow cannot read the file: assume it is upright
        return
    if orientation != 1:
        raise InputError(
            f'{path} has the EXIF orientation {orientation} '
            f'({orientation_text(orientation)}), but tiles can be read from '
            'upright images only; save it upright first'
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
            f'has the bands 1 to {source.count}; choose three bands, for red, '
            'green and blue, or one band for grey'
        )
    return tuple(wanted)


def _colour_table(source: Any, bands: tuple[int, ...]) -> np.ndarray | None:
    """Palette of a raster, (256, 3) uint8; None if it has no palette."""
    if len(bands) > 1 or source.colorinterp[bands[0] - 1].name != 'palette':
        return None
    table = np.zeros((256, 3), np.uint8)
    for value, colour in source.colormap(bands[0]).items():
        table[value] = colour[:3]
    return table


def _limits(
    source: Any, bands: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Values of each band that become 0 and 255, (bands, 1, 1) each.

    None for values of 8 bits, which are not stretched.
    """
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
            f'{path} cannot be read completely; the file is damaged ({error})'
        ) from error


def _valid(
    source: Any, bands: tuple[int, ...], values: np.ndarray, **options: Any
) -> np.ndarray:
    """Mask of the pixels that contain data, (height, width) bool."""
    if 'out_shape' in options:
        options['out_shape'] = (len(bands), *options['out_shape'])
    valid = source.read_masks(list(bands), **options).any(axis=0)
    if values.dtype.kind == 'f':
        valid &= np.isfinite(values).all(axis=0)
    return valid
