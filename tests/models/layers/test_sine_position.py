# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from ovseg_mm.models.layers import sine_position


@pytest.mark.parametrize(
    ('height', 'width', 'channels'), [(3, 5, 16), (1, 1, 4)]
)
def test_against_the_formula(height, width, channels):
    position = sine_position(height, width, channels)
    half = channels // 2
    assert position.shape == (channels, height, width)
    for y in range(height):
        for x in range(width):
            for i in range(channels):
                place, size = (y, height) if i < half else (x, width)
                u = 2 * math.pi * (place + 1) / (size + 1e-6)
                j = i % half
                t = 10000 ** (2 * (j // 2) / half)
                wave = math.sin if j % 2 == 0 else math.cos
                expected = wave(u / t)
                assert float(position[i, y, x]) == pytest.approx(
                    expected, abs=1e-5
                )
