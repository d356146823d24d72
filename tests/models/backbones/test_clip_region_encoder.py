# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F

from ovseg_mm.models import CLIPRegionEncoder


@pytest.fixture
def build(tiny_arch):
    def build(**options):
        torch.manual_seed(0)
        clip = dict(type='CLIPViT', arch=tiny_arch)
        return CLIPRegionEncoder(clip, region_size=32, **options).eval()

    return build


@pytest.fixture
def scene():
    """An image and five masks, of which the second is empty."""
    torch.manual_seed(1)
    img = torch.rand(3, 40, 50) * 255
    masks = F.interpolate(torch.rand(1, 5, 5, 6), (40, 50), mode='bicubic')[0]
    masks[1] = 0.3
    masks[2] = 0.0
    masks[2, 17, 31] = 0.9
    return img, masks.clamp(0, 1)


def test_each_region_alone_gives_the_same(build, scene):
    img, masks = scene
    encoder = build()
    regions = encoder(img, masks)
    assert regions.valid.tolist() == [True, False, True, True, True]
    assert regions.embeddings.shape == (4, 24)
    for index, row in zip([0, 2, 3, 4], regions.embeddings):
        alone = encoder(img, masks[index : index + 1]).embeddings[0]
        torch.testing.assert_close(alone, row, rtol=1e-4, atol=1e-5)


def test_batches_are_a_matter_of_memory(build, scene):
    at_once, one_by_one = build(batch_size=32), build(batch_size=1)
    torch.testing.assert_close(
        at_once(*scene).embeddings,
        one_by_one(*scene).embeddings,
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize('fill', ['mean', 'zero'])
def test_crops_are_filled_before_they_are_normalised(build, scene, fill):
    """The steps in the order in which they are published."""
    img, masks = scene
    encoder = build(fill=fill, expand_ratio=1.5)
    crops, valid, boxes = encoder.crop(img, masks)
    colour = encoder.mean if fill == 'mean' else torch.zeros(3, 1, 1)
    for crop, mask, box in zip(crops, masks[valid] > 0.5, boxes.tolist()):
        left, top, right, bottom = box
        part = torch.where(mask, img, colour)[:, top:bottom, left:right]
        part = (part - encoder.mean) / encoder.std
        expected = F.interpolate(part[None], (32, 32), mode='bicubic')[0]
        torch.testing.assert_close(crop, expected, rtol=1e-4, atol=1e-4)


def test_matting_weighs_with_probabilities(build, scene):
    img, masks = scene
    soft = build(matting=True).crop(img, masks)
    hard = build().crop(img, masks)
    assert torch.equal(soft[2], hard[2])
    assert not torch.allclose(soft[0], hard[0], atol=1e-2)


def test_threshold_is_exceeded_not_reached(build, scene):
    img, _ = scene
    masks = torch.full((1, 40, 50), 0.5)
    assert not build().crop(img, masks)[1].any()
    assert build(mask_threshold=0.49).crop(img, masks)[1].all()


def test_no_region_at_all(build, scene):
    regions = build()(scene[0], torch.zeros(3, 40, 50))
    assert regions.embeddings.shape == (0, 24)
    assert not regions.valid.any()


def test_pooling_by_masks(build, scene):
    img, masks = scene
    encoder = build(pooling='mask')
    crops, valid, boxes = encoder.crop(img, masks)
    dense = F.normalize(encoder.clip(crops).dense, dim=1)
    embeddings = encoder(img, masks).embeddings
    for row, tokens, mask, box in zip(
        embeddings, dense, masks[valid] > 0.5, boxes.tolist()
    ):
        left, top, right, bottom = box
        part = mask[None, None, top:bottom, left:right].float()
        part = F.interpolate(part, (32, 32), mode='nearest')
        shares = F.avg_pool2d(part, 8)[0]
        expected = (tokens * shares).sum(dim=(1, 2))
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-4)


def test_unknown_fill(build):
    with pytest.raises(ValueError, match="pooling='max' is not 'class' or"):
        build(pooling='max')
    with pytest.raises(ValueError, match="fill='grey' is not 'mean' or"):
        build(fill='grey')
