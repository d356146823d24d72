# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from ovseg_mm.inference import Labelling
from ovseg_mm.rasters.tiles import TileFuser, spans


@pytest.mark.parametrize(
    'size, tile, overlap',
    [(64, 64, 8), (10, 64, 8), (65, 64, 8), (100, 64, 16), (1000, 64, 16)],
)
def test_tiles_cover_the_raster_and_weights_sum_to_one(size, tile, overlap):
    found = spans(size, tile, overlap)
    total = torch.zeros(size)
    for span in found:
        assert span.stop - span.start == min(tile, size)
        assert span.start <= span.first and span.last <= span.stop
        total[span.first : span.last] += span.weights(overlap)
    torch.testing.assert_close(total, torch.ones(size))
    cells = [range(span.first, span.cut) for span in found]
    assert [i for cell in cells for i in cell] == list(range(size))
    least = 1 - (tile - size) // (tile - overlap)
    assert len(found) == max(1, least), 'no tile more than needed'


def fuse(scores, rows, columns, overlap, folder) -> np.ndarray:
    """Labels of tiles whose scores are ``scores[row, column]``."""
    fuser = TileFuser(rows, columns, overlap, folder)
    labelling = Labelling(range(scores.shape[2]), scores.shape[2])
    return np.concatenate(
        [
            np.concatenate(
                [
                    fuser.labels(r, c, scores[r, c].__getitem__, labelling)
                    for c in range(len(columns))
                ],
                axis=1,
            )
            for r in range(len(rows))
        ]
    )


def test_fused_scores_are_the_weighted_mean_of_all_tiles(tmp_path):
    overlap, texts = 8, 40
    rows, columns = spans(70, 32, overlap), spans(110, 32, overlap)
    shape = len(rows), len(columns), texts, 32, 32
    scores = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(texts, 70, 110)
    for r, y in enumerate(rows):
        for c, x in enumerate(columns):
            weight = torch.outer(y.weights(overlap), x.weights(overlap))
            part = scores[r, c, :, y.seen, x.seen]
            expected[:, y.first : y.last, x.first : x.last] += weight * part
    labels = fuse(scores, rows, columns, overlap, tmp_path)
    assert labels.shape == (70, 110)
    (first, second), winner = expected.topk(2, dim=0)
    # Shared scores are kept in half precision.
    clear = (first - second > 2e-3).numpy()
    assert clear.mean() > 0.9
    assert (labels == winner[0].numpy())[clear].all()


def test_tiles_that_disagree_leave_no_seam(tmp_path):
    """Each tile shifts the scores; the edge of a class must not jump."""
    overlap, size, tile = 16, 144, 64

    def edges(overlap: int) -> np.ndarray:
        columns = spans(size, tile, overlap)
        (row,) = rows = spans(tile, tile, overlap)
        slope = torch.linspace(-1, 1, tile)[:, None]
        shifts = (0.3, -0.3, 0.3, -0.3)
        scores = torch.stack(
            [
                torch.stack([slope + shift, -slope - shift]).expand(2, -1, 64)
                for shift in shifts[: len(columns)]
            ]
        )[None]
        labels = fuse(scores, rows, columns, overlap, tmp_path)
        return labels.sum(axis=0)  # row where the class changes

    assert abs(np.diff(edges(0))).max() > 15, 'a hard cut would jump'
    assert abs(np.diff(edges(overlap))).max() <= 2
