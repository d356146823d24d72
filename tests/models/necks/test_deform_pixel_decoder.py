# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.models import DeformPixelDecoder
from ovseg_mm.models.necks.deform_pixel_decoder import cell_centres


@pytest.fixture
def neck():
    torch.manual_seed(0)
    return DeformPixelDecoder(
        in_channels=(4, 6, 8, 10),
        embed_dims=32,
        mask_channels=12,
        num_heads=4,
        num_points=2,
        num_layers=2,
        feedforward_dims=16,
    ).eval()


def maps_of(height, width):
    torch.manual_seed(1)
    return [
        torch.randn(2, channels, height >> level, width >> level)
        for level, channels in enumerate((4, 6, 8, 10))
    ]


@pytest.mark.parametrize('size', [(16, 24), (8, 8), (40, 16)])
def test_shapes(neck, size):
    feats = neck(maps_of(*size))
    assert feats.mask_features.shape == (2, 12, *size)
    assert [x.shape[1:] for x in feats.maps] == [
        (32, size[0] >> level, size[1] >> level) for level in (3, 2, 1)
    ]
    assert feats.context is None


def test_images_do_not_mix(neck):
    together = neck(maps_of(16, 24))
    alone = neck([x[1:] for x in maps_of(16, 24)])
    torch.testing.assert_close(
        alone.mask_features[0], together.mask_features[1], atol=1e-5, rtol=1e-4
    )


def test_levels_speak_to_each_other(neck):
    """Offsets reach from each level into the coarsest one."""
    maps = maps_of(16, 24)
    before = neck(maps)
    maps[3] = maps[3] + 2 * torch.randn_like(maps[3])
    after = neck(maps)
    for one, other in zip(before.maps, after.maps):
        assert not torch.allclose(one, other, atol=1e-3)


def test_finest_map_is_not_attended_to(neck):
    maps = maps_of(16, 24)
    before = neck(maps)
    maps[0] = torch.randn_like(maps[0])
    after = neck(maps)
    for one, other in zip(before.maps, after.maps):
        assert torch.equal(one, other)
    assert not torch.allclose(before.mask_features, after.mask_features)


def test_centres():
    assert cell_centres(2, 4).tolist() == [
        [x, y] for y in (0.25, 0.75) for x in (0.125, 0.375, 0.625, 0.875)
    ]
