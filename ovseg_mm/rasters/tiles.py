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

    The images of two neighbouring tiles ``a`` and ``b`` overlap. In the
    middle of the overlap is the blending zone, the pixels from ``a.cut``
    (inclusive) to ``a.last`` (exclusive). It has the same length between all
    tiles, and ``b.first`` equals ``a.cut``. Within the blending zone, the
    weight of ``a`` falls linearly and the weight of ``b`` rises linearly; the
    two weights sum to 1. Pixels outside of blending zones have the scores of
    one tile only.

    Attributes:
        start (int): First pixel of the tile's image, the model's input.
        stop (int): End (exclusive) of the tile's image.
        first (int): First pixel at which the scores of the tile are used.
            This is the start of the blending zone with the previous tile. For
            the first tile: 0.
        cut (int): Start of the blending zone with the next tile. For the last
            tile: length of the axis.
        last (int): End (exclusive) of the pixels at which the scores of the
            tile are used. This is the end of the blending zone with the next
            tile. For the last tile: length of the axis.
    """

    start: int
    stop: int
    first: int
    cut: int
    last: int

    @property
    def seen(self) -> slice:
        """Pixels of the tile whose scores are used.

        The slice counts from the first pixel of the tile, ``start``.
        """
        return slice(self.first - self.start, self.last - self.start)

    @property
    def done(self) -> slice:
        """Pixels before the blending zone with the next tile.

        The slice counts from the pixel ``first``.
        """
        return slice(0, self.cut - self.first)

    @property
    def shared(self) -> slice:
        """Pixels in the blending zone with the next tile.

        The slice counts from the pixel ``first``.
        """
        return slice(self.cut - self.first, self.last - self.first)

    def weights(self, overlap: int) -> Tensor:
        """Blending weights of the pixels from ``first`` to ``last - 1``.

        Args:
            overlap (int): Length of a blending zone in pixels.

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
        tile (int): Length of a tile in pixels. If the axis is shorter, there
            is one tile with the length of the axis.
        overlap (int): Smallest overlap of the images of neighbouring tiles in
            pixels, at most a quarter of ``tile``. This is also the length of
            the blending zones, see :class:`Span`.

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

    :meth:`labels` or :meth:`skip` must be called once for each tile. Rows of
    tiles come from top to bottom; the tiles of a row come from left to right.

    Scores in the blending zone with the right neighbour stay in memory.
    Scores in the blending zone with the tile below are saved in files, so
    that memory does not grow with the raster. The files of a row are kept
    until the next row is finished, so that a killed run can continue at the
    start of a row.

    Args:
        rows (list[Span]): Extents of the tiles along the height.
        columns (list[Span]): Extents of the tiles along the width.
        overlap (int): Length of a blending zone in pixels.
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
        """Compute the labels of a tile, except for some pixels at its edges.

        Pixels in the blending zones with the right neighbour and with the
        tile below are left out, because their labels are computed with these
        later tiles.

        Args:
            row (int): Index of the tile's row.
            column (int): Index of the tile's column.
            scores_of (Callable): Function that returns the scores of the
                tile's image for a slice of t class texts, (t, H, W), for an
                image of H x W pixels.
            labelling (Labelling): Rule that turns fused scores into labels.

        Returns:
            np.ndarray: Labels of h x w pixels, (h, w) int64. Along each axis,
            these are the pixels from ``first`` (inclusive) to ``cut``
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
        """Skip a tile without data. It adds no scores to its neighbours."""
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
