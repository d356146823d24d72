# SPDX-License-Identifier: Apache-2.0
"""Overlapping tiles of a raster, and the fusion of their scores."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ovseg_mm.inference import Labelling
from ovseg_mm.utils.paths import atomic_write


@dataclass(frozen=True)
class Span:
    """Extent of a tile along one axis, in pixels of the raster.

    The scores of two neighbouring tiles ``a`` and ``b`` are blended in a
    shared zone, the pixels from ``a.cut`` (inclusive) to ``a.last``
    (exclusive); ``b.first`` equals ``a.cut``. Within this zone, the weight of
    ``a`` falls linearly and the weight of ``b`` rises linearly; the two
    weights sum to 1.

    Attributes:
        start (int): First pixel of the tile's image, the model's input.
        stop (int): End of the tile's image (exclusive).
        first (int): First pixel with a weight above 0. It is the start of the
            zone shared with the previous tile; for the first tile, it is 0.
        cut (int): Start of the zone shared with the next tile. For the last
            tile: length of the axis.
        last (int): End (exclusive) of the zone shared with the next tile. For
            the last tile: length of the axis.
    """

    start: int
    stop: int
    first: int
    cut: int
    last: int

    @property
    def seen(self) -> slice:
        """Pixels with a weight above 0, counted from ``start``."""
        return slice(self.first - self.start, self.last - self.start)

    @property
    def done(self) -> slice:
        """Pixels not shared with the next tile, counted from ``first``."""
        return slice(0, self.cut - self.first)

    @property
    def shared(self) -> slice:
        """Pixels shared with the next tile, counted from ``first``."""
        return slice(self.cut - self.first, self.last - self.first)

    def weights(self, overlap: int) -> Tensor:
        """Weights of the pixels that ``seen`` selects.

        Args:
            overlap (int): Number of pixels in a shared zone.

        Returns:
            Tensor: Weights in (0, 1], (``last - first``,) float32.
        """
        weights = torch.ones(self.last - self.first)
        ramp = (torch.arange(overlap) + 0.5) / max(overlap, 1)
        if self.first > 0:
            weights[:overlap] = ramp
        if self.cut < self.last:
            weights[-overlap:] = ramp.flip(0)
        return weights


def spans(size: int, tile: int, overlap: int) -> list[Span]:
    """Divide an axis into evenly spread tiles of equal size.

    Args:
        size (int): Length of the axis in pixels.
        tile (int): Length of a tile in pixels. An axis that is shorter gets
            one tile of its own length.
        overlap (int): Number of pixels in a shared zone, at most a quarter of
            ``tile``. The images of neighbouring tiles overlap by at least
            this number.

    Returns:
        list[Span]: The tiles, in the order of their first pixels.
    """
    tile = min(tile, size)
    count = 1 - (tile - size) // (tile - overlap)
    starts = [i * (size - tile) // max(count - 1, 1) for i in range(count)]
    cuts = [
        # The middle of the pixels that both tiles see.
        (start + starts[i] + tile - overlap) // 2
        for i, start in enumerate(starts[1:])
    ]
    firsts = [0, *cuts]
    lasts = [*(cut + overlap for cut in cuts), size]
    return [
        Span(start, start + tile, first, cut, last)
        for start, first, cut, last in zip(
            starts, firsts, [*cuts, size], lasts
        )
    ]


class TileFuser:
    """Fuse the scores of overlapping tiles and turn them into labels.

    :meth:`labels` must be called row by row, from left to right. Scores of
    the zone shared with the right neighbour stay in memory. Scores of the
    zone shared with the row below are saved in files, so that memory does not
    grow with the raster. The files of a row are kept until the next row is
    finished, so that a killed run can continue at the start of a row.

    Args:
        rows (list[Span]): Extents of the tiles along the height.
        columns (list[Span]): Extents of the tiles along the width.
        overlap (int): Number of pixels in a zone that neighbours share.
        folder (Path): Folder for the files, which take 2 bytes per score.
    """

    def __init__(
        self, rows: list[Span], columns: list[Span], overlap: int, folder: Path
    ) -> None:
        self.rows = rows
        self.columns = columns
        self.overlap = overlap
        self.folder = folder
        self._left: Tensor | None = None

    def labels(
        self,
        row: int,
        column: int,
        scores_of: Callable[[slice], Tensor],
        labelling: Labelling,
    ) -> np.ndarray:
        """Labels of a tile, without the pixels shared with later tiles.

        Args:
            row (int): Index of the tile's row.
            column (int): Index of the tile's column.
            scores_of (Callable): Function that returns the scores of the tile
                for a slice of t class texts, (t, height, width).
            labelling (Labelling): Rule that turns fused scores into labels.

        Returns:
            np.ndarray: Labels, (height, width) int64. Along each axis, they
            belong to the pixels from ``first`` (inclusive) to ``cut``
            (exclusive) of the tile's :class:`Span`.
        """
        y, x, o = self.rows[row], self.columns[column], self.overlap
        weight = torch.outer(y.weights(o), x.weights(o))
        left, above = self._left, self._read(row - 1, column)
        right: list[Tensor] = []
        below: list[Tensor] = []

        def fused(classes: slice) -> Tensor:
            scores = scores_of(classes)[:, y.seen, x.seen]
            scores = scores * weight.to(scores)
            if left is not None:
                scores[:, :, :o] += left[classes].to(scores)
            if above is not None:
                scores[:, :o, x.done] += above[classes].to(scores)
            right.append(scores[:, :, x.shared].half().cpu())
            below.append(scores[:, y.shared, x.done].half().cpu())
            return scores[:, y.done, x.done]

        labels = labelling.labels(fused)
        # The last tile of a row has no right neighbour.
        self._left = torch.cat(right) if x.cut < x.last else None
        if y.cut < y.last:
            self._write(row, column, torch.cat(below))
        return labels.cpu().numpy()

    def skip(self, row: int, column: int) -> None:
        """Skip a tile without data, which adds no scores to its neighbours."""
        self._left = None
        self._file(row, column).unlink(missing_ok=True)

    def _file(self, row: int, column: int) -> Path:
        return self.folder / f'scores_{row % 2}_{column}.npy'

    def _read(self, row: int, column: int) -> Tensor | None:
        file = self._file(row, column)
        if row < 0 or not file.is_file():
            return None
        return torch.from_numpy(np.load(file))

    def _write(self, row: int, column: int, scores: Tensor) -> None:
        with atomic_write(self._file(row, column)) as file:
            np.save(file, scores.numpy())
