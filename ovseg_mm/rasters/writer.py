# SPDX-License-Identifier: Apache-2.0
"""Result files of a raster: label map as GeoTIFF, and polygons."""

import json
import os
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from ovseg_mm.utils.paths import atomic_write, write_text
from ovseg_mm.vocabulary import Vocabulary

from .reader import import_rasterio, open_raster

# Side of the blocks of a label map in pixels.
_BLOCK = 256
# Decimals of a degree; the last one is about a millimetre.
_DECIMALS = 8
# Number of polygons that are written at once.
_POLYGONS = 10_000


def write_label_raster(
    target: Path, rows: Iterable[np.ndarray], source: Any, words: Vocabulary
) -> None:
    """Write a label map as a compressed GeoTIFF.

    The file has the georeference of the raster. The no-data value is the
    ignore label, and the colour table has the colours of the classes. Class
    names are stored as tags (``class_0``, ``class_1``, ...) and, for QGIS, in
    the file ``TARGET.aux.xml``.

    Args:
        target (Path): File to write; an interrupted call leaves no file.
        rows (Iterable[np.ndarray]): Labels from top to bottom, as arrays
            (height, width) uint8 or uint16. Each array has the full width of
            the raster and a few of its rows.
        source (Any): The segmented raster, opened by :func:`open_raster`.
        words (Vocabulary): Class names and colours.
    """
    rasterio = import_rasterio()
    part = target.with_name(f'.{target.name}.part.tif')
    profile = dict(
        driver='GTiff',
        width=source.width,
        height=source.height,
        count=1,
        dtype='uint8' if words.ignore_label == 255 else 'uint16',
        nodata=words.ignore_label,
        tiled=True,
        blockxsize=_BLOCK,
        blockysize=_BLOCK,
        compress='deflate',
        bigtiff='if_safer',
    )
    if source.crs is not None:
        profile.update(crs=source.crs, transform=source.transform)
    try:
        with rasterio.open(part, 'w', **profile) as file:
            file.write_colormap(1, dict(enumerate(words.palette)))
            file.update_tags(
                1,
                **{
                    f'class_{label}': name
                    for label, name in enumerate(words.label_names)
                },
            )
            top = 0
            for block in _in_blocks(rows):
                window = ((top, top + len(block)), (0, source.width))
                file.write(block, 1, window=window)
                top += len(block)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    names = ''.join(
        f'<Category>{escape(name)}</Category>' for name in words.label_names
    )
    write_text(
        Path(f'{target}.aux.xml'),
        '<PAMDataset><PAMRasterBand band="1"><CategoryNames>'
        f'{names}</CategoryNames></PAMRasterBand></PAMDataset>\n',
    )


def write_geojson(target: Path, labels: Path, words: Vocabulary) -> None:
    """Write the polygons of a label map as GeoJSON.

    Coordinates are longitude and latitude (WGS 84), as GeoJSON demands.
    Without a georeference, coordinates are pixels from the upper left corner.

    Args:
        target (Path): File to write; an interrupted call leaves no file.
        labels (Path): Label map that :func:`write_label_raster` has written.
        words (Vocabulary): Class names.
    """
    from rasterio.warp import transform_geom

    with open_raster(labels) as source, atomic_write(target) as out:
        out.write(b'{"type": "FeatureCollection", "features": [')
        for index, (geometry, label) in enumerate(_areas(source, words)):
            if source.crs is not None:
                geometry = transform_geom(
                    source.crs, 'EPSG:4326', geometry, precision=_DECIMALS
                )
            feature = dict(
                type='Feature',
                properties={'class': words.label_names[label], 'label': label},
                geometry=geometry,
            )
            text = json.dumps(feature, ensure_ascii=False)
            out.write(f'{"," if index else ""}\n{text}'.encode())
        out.write(b'\n]}\n')


def write_geopackage(target: Path, labels: Path, words: Vocabulary) -> None:
    """Write the polygons of a label map as GeoPackage.

    Coordinates are in the reference system of the label map.

    Args:
        target (Path): File to write; an interrupted call leaves no file.
        labels (Path): Label map that :func:`write_label_raster` has written.
        words (Vocabulary): Class names.

    Raises:
        ImportError: If pyogrio or shapely is not installed.
    """
    write, shape = import_pyogrio()
    part = target.with_name(f'.{target.stem}.part.gpkg')
    try:
        with open_raster(labels) as source, warnings.catch_warnings():
            # Without a georeference, polygons are in pixels.
            warnings.filterwarnings('ignore', "'crs' was not provided")
            areas = _areas(source, words)
            chunk = list(islice(areas, _POLYGONS))
            while True:
                values = np.array([label for _, label in chunk], np.int32)
                write(
                    str(part),
                    np.array([shape(area).wkb for area, _ in chunk], object),
                    [
                        np.array([words.label_names[v] for v in values], 'O'),
                        values,
                    ],
                    np.array(['class', 'label'], object),
                    layer='areas',
                    driver='GPKG',
                    geometry_type='Polygon',
                    crs=source.crs and source.crs.to_wkt(),
                    append=part.exists(),
                )
                chunk = list(islice(areas, _POLYGONS))
                if not chunk:
                    break
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def import_pyogrio() -> tuple[Any, Any]:
    """Import the functions that write vector files.

    Returns:
        tuple[Any, Any]: ``pyogrio.raw.write`` and ``shapely.geometry.shape``.

    Raises:
        ImportError: If pyogrio or shapely is not installed; the message says
            how to install them.
    """
    try:
        from pyogrio.raw import write
        from shapely.geometry import shape
    except ImportError as error:
        raise ImportError(
            'writing a GeoPackage needs pyogrio and shapely; install them '
            "with: pip install 'ovseg_mm[geo]'"
        ) from error
    return write, shape


def _areas(source: Any, words: Vocabulary) -> Iterator[tuple[dict, int]]:
    """Yield a polygon (GeoJSON geometry) and the label of each connected area.

    Pixels without a label belong to no area.
    """
    from rasterio import band
    from rasterio.features import shapes

    options = {} if source.crs is None else dict(transform=source.transform)
    for geometry, value in shapes(band(source, 1), **options):
        if int(value) < words.num_labels:
            yield geometry, int(value)


def _in_blocks(rows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Regroup rows so that each group has the height of a TIFF block.

    Each block of the file is then written only once. A block that is written
    in two steps would stay in the compressed file twice.
    """
    rest: np.ndarray | None = None
    for part in rows:
        rest = part if rest is None else np.concatenate([rest, part])
        whole = len(rest) // _BLOCK * _BLOCK
        for top in range(0, whole, _BLOCK):
            yield rest[top : top + _BLOCK]
        rest = rest[whole:]
    if rest is not None and len(rest):
        yield rest
