# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from ovseg_mm.visualization import draw_heatmap


def grey(height, width):
    return np.full((height, width, 3), 100, dtype=np.uint8)


def ramp(height=300, width=400):
    return np.tile(np.linspace(-2, 6, width), (height, 1))


def brightness(picture):
    return picture.astype(float) @ (0.299, 0.587, 0.114)


def test_brightness_grows_with_the_score():
    drawn = draw_heatmap(grey(300, 400), ramp())
    assert drawn.dtype == np.uint8 and drawn.shape[1] == 400
    assert 300 < len(drawn) < 360, 'the scale is below'
    rising = np.diff(brightness(drawn[150, ::8]))
    assert (rising > 0).all()
    assert rising.max() < 6 * rising.mean(), 'equal steps look equal'


def test_a_given_range_clips():
    drawn = draw_heatmap(grey(300, 400), ramp(), low=0, high=1)
    assert np.unique(drawn[:300, :100].reshape(-1, 3), axis=0).shape[0] == 1
    assert np.unique(drawn[:300, 160:].reshape(-1, 3), axis=0).shape[0] == 1
    other = draw_heatmap(grey(300, 400), ramp(), low=0, high=2)
    assert (drawn[300:] != other[300:]).any(), 'the scale has other numbers'


@pytest.mark.parametrize('size', [(1, 1), (1, 700), (700, 1), (37, 61)])
@pytest.mark.parametrize('score', [0.0, 1e-9, 3e8, np.nan, np.inf])
def test_any_size_and_score(size, score):
    drawn = draw_heatmap(grey(*size), np.full(size, score, np.float32))
    assert drawn.shape[0] > size[0] and drawn.shape[1] >= size[1]
    if not np.isfinite(score):
        assert (drawn[: size[0], : size[1]] == 100).all()


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r'scores have shape \(2, 2\)'):
        draw_heatmap(grey(4, 4), np.zeros((2, 2)))
    with pytest.raises(ValueError, match='must be RGB'):
        draw_heatmap(np.zeros((4, 4)), np.zeros((4, 4)))
