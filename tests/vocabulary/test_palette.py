# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from ovseg_mm.vocabulary import distinct_palette


@pytest.mark.parametrize('size', [0, 1, 847, 4000])
def test_any_number_of_different_colours(size):
    palette = distinct_palette(size)
    assert len(palette) == len(set(palette)) == size
    assert all(0 <= value <= 255 for colour in palette for value in colour)


def test_first_colours_are_far_apart_and_from_grey():
    colours = np.array([(0, 0, 0), (255, 255, 255), *distinct_palette(20)])
    distance = np.abs(colours[:, None] - colours).sum(axis=2)
    np.fill_diagonal(distance, 999)
    assert distance.min() >= 80


def test_longer_palette_begins_with_the_shorter():
    assert distinct_palette(300)[:40] == distinct_palette(40)
