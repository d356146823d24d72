# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from ovseg_mm.inference import PixelRefiner


def naive(img, maps, steps, dilations):
    """One pixel and neighbour after the other, in float64."""
    img, maps = img.double(), maps.double()
    colours, height, width = img.shape
    for _ in range(steps):
        refined = torch.zeros_like(maps)
        for y in range(height):
            for x in range(width):
                places = [
                    (
                        min(max(y + dy * d, 0), height - 1),
                        min(max(x + dx * d, 0), width - 1),
                    )
                    for d in dilations
                    for dy in (-1, 0, 1)
                    for dx in (-1, 0, 1)
                ]
                logits = []
                for a, b in places:
                    total = 0.0
                    for c in range(colours):
                        values = [float(img[c, i, j]) for i, j in places]
                        mean = sum(values) / len(values)
                        variance = sum((v - mean) ** 2 for v in values)
                        sigma = math.sqrt(variance / (len(values) - 1))
                        gap = abs(float(img[c, y, x] - img[c, a, b]))
                        total -= gap / (1e-8 + 0.1 * sigma)
                    logits.append(total / colours)
                # The centre is in the middle of each nine.
                near = [i for i in range(len(places)) if i % 9 != 4]
                top = max(logits[i] for i in near)
                weights = {i: math.exp(logits[i] - top) for i in near}
                for i, weight in weights.items():
                    share = weight / sum(weights.values())
                    refined[:, y, x] += share * maps[(slice(None), *places[i])]
        maps = refined
    return maps


@pytest.mark.parametrize(
    ('size', 'steps', 'dilations'),
    [
        ((6, 7), 2, (1,)),
        ((5, 8), 1, (1, 2)),
        ((4, 5), 2, (3, 9)),  # beyond the picture
        ((1, 6), 1, (2,)),
    ],
)
def test_equals_loops(size, steps, dilations):
    torch.manual_seed(0)
    img, maps = torch.randn(3, *size), torch.randn(2, *size)
    refined = PixelRefiner(img, steps, dilations)(maps)
    expected = naive(img, maps, steps, dilations)
    torch.testing.assert_close(
        refined.double(), expected, rtol=1e-4, atol=1e-5
    )


def test_no_step_leaves_maps_alone():
    maps = torch.randn(2, 4, 5)
    assert PixelRefiner(torch.randn(3, 4, 5), 0)(maps) is maps


def test_maps_do_not_meet():
    torch.manual_seed(0)
    maps = torch.randn(5, 9, 11)
    refine = PixelRefiner(torch.randn(3, 9, 11), 3, (1, 2))
    parts = torch.cat([refine(part) for part in maps.split(2)])
    assert torch.equal(refine(maps), parts)


def test_an_even_picture_has_the_mean_of_neighbours():
    maps = torch.zeros(1, 5, 5)
    maps[0, 2, 2] = 8.0
    refined = PixelRefiner(torch.ones(3, 5, 5), 1, (1,))(maps)[0]
    assert refined[2, 2] == 0  # the centre is not a neighbour
    torch.testing.assert_close(refined[1:4, 1:4].sum(), torch.tensor(8.0))


def test_edges_stop_the_spreading():
    img = torch.zeros(3, 8, 8)
    img[:, :, 4:] = 1.0
    maps = torch.zeros(1, 8, 8)
    maps[0, :, 4:] = 1.0
    refined = PixelRefiner(img, 10, (1, 2))(maps)[0]
    assert (refined[:, :4] < 0.1).all() and (refined[:, 4:] > 0.9).all()


def test_half_precision_pictures():
    torch.manual_seed(0)
    img, maps = torch.randn(3, 9, 9), torch.randn(2, 9, 9)
    refined = PixelRefiner(img.half(), 2, (1,))(maps)
    assert refined.dtype == torch.float32 and refined.isfinite().all()
