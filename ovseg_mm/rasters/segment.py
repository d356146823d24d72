# SPDX-License-Identifier: Apache-2.0
"""Segmentation of a raster of any size."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ovseg_mm.apis.inferencer import OpenVocabInferencer
from ovseg_mm.engine.weights import LoadedWeights
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import write_image
from ovseg_mm.utils.paths import atomic_write, write_text
from ovseg_mm.utils.result_files import RASTER_OUTPUTS
from ovseg_mm.visualization import draw_overlay
from ovseg_mm.vocabulary import Vocabulary

from .reader import RasterReader, import_rasterio, open_raster, reduced_size
from .tiles import TileFuser, spans
from .writer import (
    import_pyogrio,
    write_geojson,
    write_geopackage,
    write_label_raster,
)

# Side of a tile in pixels. The overlap of neighbouring tiles is 1/8 of it.
TILE = 640
SHARED = 1 / 8
# Longest side of the overlay in pixels; a larger raster is reduced.
OVERLAY = 2048


@dataclass(frozen=True)
class RasterResult:
    """Result for one raster.

    Attributes:
        size (tuple[int, int]): Height and width of the raster in pixels.
        shares (dict[str, float]): Share of the raster that each class of the
            label map covers, in (0, 1]. The key is the class name. The
            largest share is first.
        files (dict[str, Path]): Paths of the written files by kind.
    """

    size: tuple[int, int]
    shares: dict[str, float]
    files: dict[str, Path]


def segment_raster(
    inferencer: OpenVocabInferencer,
    path: str | Path,
    words: Vocabulary,
    folder: str | Path,
    *,
    save: Sequence[str] = ('labels', 'overlay'),
    name: str | None = None,
    bands: Sequence[int] | None = None,
    tile: int = TILE,
    on_tile: Callable[[int, int], None] = lambda done, total: None,
    **call: Any,
) -> RasterResult:
    """Segment a raster in overlapping tiles and fuse their scores.

    Memory holds the scores of one tile and the labels of one row of tiles.
    As a result, the needed memory does not grow with the height of the
    raster, and grows little with its width.

    Finished rows of tiles are saved in the folder ``NAME_labels.parts`` until
    the label map is complete. If a call was interrupted, the same call
    continues with the rows of tiles that are not finished.

    Args:
        inferencer (OpenVocabInferencer): The model.
        path (str | Path): File of the raster, see :class:`RasterReader`.
        words (Vocabulary): Classes.
        folder (str | Path): Folder of the results; created if missing.
        save (Sequence[str]): Kinds of results, keys of ``RASTER_OUTPUTS``:
            ``'labels'``, the label map as GeoTIFF, which is always written;
            ``'overlay'``, reduced to at most 2048 x 2048 pixels;
            ``'geojson'``, polygons in longitude and latitude (WGS 84);
            ``'gpkg'``, polygons as GeoPackage.
        name (str, optional): NAME in the file names. None: name of the raster
            without suffix.
        bands (Sequence[int], optional): See :class:`RasterReader`.
        tile (int): Side of a tile in pixels.
        on_tile (Callable): Called after each tile with the number of finished
            tiles and the number of all tiles.
        **call (Any): Options of
            :meth:`ovseg_mm.apis.OpenVocabInferencer.__call__`.

    Returns:
        RasterResult: Shares of the classes, and the written files.

    Raises:
        ImportError: If a library of the extra ``geo`` is missing.
        InputError: If the raster cannot be read, or ``save`` has an unknown
            kind of result.
    """
    check_raster_results(save)
    path, folder = Path(path), Path(folder)
    name = path.stem if name is None else name
    files = {kind: folder / f'{name}{RASTER_OUTPUTS[kind]}' for kind in save}
    labels = folder / f'{name}{RASTER_OUTPUTS["labels"]}'
    parts = folder / f'{name}_labels.parts'
    labels.parent.mkdir(parents=True, exist_ok=True)
    with RasterReader(path, bands) as reader:
        run = _Run(inferencer, reader, words, parts, tile, call)
        run.finish_rows(on_tile)
        write_label_raster(labels, run.rows_of_labels(), reader.source, words)
        size = reader.size
        if 'overlay' in save:
            _write_overlay(files['overlay'], reader, labels, words)
    if 'geojson' in save:
        write_geojson(files['geojson'], labels, words)
    if 'gpkg' in save:
        write_geopackage(files['gpkg'], labels, words)
    shutil.rmtree(parts)
    return RasterResult(size, run.shares(), {'labels': labels, **files})


def check_raster_results(save: Sequence[str]) -> None:
    """Check that all kinds of results in ``save`` can be written.

    Args:
        save (Sequence[str]): Kinds of results of a raster.

    Raises:
        ImportError: If a library that writes one of the kinds is missing.
        InputError: If a kind is not in ``RASTER_OUTPUTS``.
    """
    import_rasterio()
    wrong = [kind for kind in save if kind not in RASTER_OUTPUTS]
    if wrong:
        raise InputError(
            f'{", ".join(wrong)} cannot be saved for a raster that is '
            f'segmented in tiles; choose from {", ".join(RASTER_OUTPUTS)}'
        )
    if 'gpkg' in save:
        import_pyogrio()


class _Run:
    """Segmentation of a raster, one row of tiles after the other.

    The labels of finished rows are kept in files.
    """

    def __init__(
        self,
        inferencer: OpenVocabInferencer,
        reader: RasterReader,
        words: Vocabulary,
        parts: Path,
        tile: int,
        call: dict[str, Any],
    ) -> None:
        self.inferencer = inferencer
        self.reader = reader
        self.words = words
        self.parts = parts
        self.call = call
        overlap = round(tile * SHARED)
        height, width = reader.size
        self.rows = spans(height, tile, overlap)
        self.columns = spans(width, tile, overlap)
        self._counts: Counter[int] = Counter()
        self.fuser = TileFuser(self.rows, self.columns, overlap, parts)
        _start_or_continue(
            parts,
            dict(
                raster=_stamp(reader.path),
                bands=list(reader.bands),
                tile=tile,
                call=call,
                vocabulary=words.fingerprint,
                weights=LoadedWeights('', None).sha256(inferencer.model),
            ),
        )

    def finish_rows(self, on_tile: Callable[[int, int], None]) -> None:
        """Segment the rows of tiles that are not finished."""
        total = len(self.rows) * len(self.columns)
        for row in range(len(self.rows)):
            done = row * len(self.columns)
            if not self._file(row).is_file():
                cells = []
                for column in range(len(self.columns)):
                    cells.append(self._cell(row, column))
                    on_tile(done + column + 1, total)
                with atomic_write(self._file(row)) as file:
                    np.savez_compressed(file, np.concatenate(cells, axis=1))
            on_tile(done + len(self.columns), total)

    def rows_of_labels(self) -> Iterator[np.ndarray]:
        """Yield the labels of each row of tiles, from top to bottom.

        Each array is (h, W) uint8 or uint16, for h rows of pixels and the
        width W of the raster. The pixels of each label are counted on the
        way; :meth:`shares` needs these counts.
        """
        for row in range(len(self.rows)):
            with np.load(self._file(row)) as arrays:
                labels = arrays['arr_0']
            values, counts = np.unique(labels, return_counts=True)
            self._counts.update(dict(zip(values.tolist(), counts.tolist())))
            yield labels

    def shares(self) -> dict[str, float]:
        """Share of the raster that each class of the label map covers.

        The key is the class name. All rows of :meth:`rows_of_labels` must
        have been read before.
        """
        pixels = self.reader.size[0] * self.reader.size[1]
        return {
            self.words.label_names[label]: count / pixels
            for label, count in self._counts.most_common()
            if label < self.words.num_labels
        }

    def _file(self, row: int) -> Path:
        return self.parts / f'labels_{row}.npz'

    def _cell(self, row: int, column: int) -> np.ndarray:
        """Segment a tile.

        Returns its labels, (h, w) uint8 or uint16, without the pixels whose
        labels a later tile gives, see :meth:`TileFuser.labels`.
        """
        y, x = self.rows[row], self.columns[column]
        rgb, valid = self.reader.read(y, x)
        valid = valid[y.seen, x.seen][y.done, x.done]
        ignored = self.words.ignore_label
        deep = np.uint8 if ignored == 255 else np.uint16
        if not rgb.any():
            self.fuser.skip(row, column)
            return np.full(valid.shape, ignored, deep)
        scored = self.inferencer.scored(rgb, self.words, **self.call)
        with scored as (scores, labelling):
            # A tile does not show how large an area is in the whole raster.
            labelling = replace(labelling, least_area=None)
            labels = self.fuser.labels(row, column, scores.of, labelling)
        return np.where(valid, labels, ignored).astype(deep)


def _start_or_continue(parts: Path, settings: dict[str, Any]) -> None:
    """Prepare the folder that holds the finished rows of tiles.

    Rows that were made with other settings are deleted.
    """
    file = parts / 'settings.json'
    text = json.dumps(settings, indent=1) + '\n'
    if file.is_file() and file.read_text() == text:
        return
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    write_text(file, text)


def _stamp(path: Path) -> list:
    stat = path.stat()
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]


def _write_overlay(
    target: Path, reader: RasterReader, labels: Path, words: Vocabulary
) -> None:
    size = reduced_size(reader.size, OVERLAY)
    with open_raster(labels) as source:
        reduced = source.read(1, out_shape=size)
    # Outlines would hide small areas of a reduced image.
    outlines = size == reader.size
    image, _ = reader.reduced(OVERLAY)
    drawn = draw_overlay(image, reduced, words, outlines=outlines)
    write_image(target, drawn)
