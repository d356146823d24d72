# SPDX-License-Identifier: Apache-2.0
import torch

from ovseg_mm.models.utils import sample_points, uncertain_points


def test_points_at_pixel_centres_give_the_pixels():
    maps = torch.arange(24.0).view(2, 3, 4)
    rows, columns = torch.meshgrid(
        torch.arange(3), torch.arange(4), indexing='ij'
    )
    points = torch.stack([(columns + 0.5) / 4, (rows + 0.5) / 3], dim=2)
    points = points.flatten(0, 1)[None]
    values = sample_points(maps, points)
    torch.testing.assert_close(values, maps.flatten(1), rtol=1e-5, atol=1e-5)


def test_between_pixels_and_outside():
    maps = torch.tensor([[[2.0, 4.0]]])
    points = torch.tensor([[[0.5, 0.5], [0.0, 0.5], [2.0, 0.5]]])
    assert sample_points(maps, points).tolist() == [[3.0, 1.0, 0.0]]


def test_uncertain_points_have_the_smallest_logits():
    torch.manual_seed(0)
    logits = torch.randn(3, 6, 6)
    drawn = []

    def draw(shape):
        drawn.append(torch.rand(shape))
        return drawn[-1]

    points = uncertain_points(logits, 8, draw)
    assert [tuple(d.shape) for d in drawn] == [(3, 24, 2), (3, 2, 2)]
    assert points.shape == (3, 8, 2)
    assert torch.equal(points[:, 6:], drawn[1])
    chosen = sample_points(logits, points[:, :6]).abs().amax(1)
    every = sample_points(logits, drawn[0]).abs().sort(dim=1).values
    assert torch.allclose(chosen, every[:, 5])
