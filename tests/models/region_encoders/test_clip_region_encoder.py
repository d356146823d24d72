# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F

from ovseg_mm.models.region_encoders import CLIPRegionEncoder
from ovseg_mm.models.utils import patches_with_mask, region_masks


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


def test_foreground_patches(build, scene):
    """The mask, cropped, resized to the nearest pixel, averaged, rounded."""
    img, masks = scene
    _, valid, boxes = build().crop(img, masks)
    binary = masks[valid] > 0.5
    found = patches_with_mask(region_masks(binary, boxes, 32), 8)
    for row, mask, box in zip(found, binary.float(), boxes.tolist()):
        left, top, right, bottom = box
        crop = mask[None, None, top:bottom, left:right]
        pooled = F.avg_pool2d(F.interpolate(crop, (32, 32)), 8).ceil()
        assert torch.equal(row, pooled.flatten() == 1)


def test_background_speaks_of_the_whole_image(build, scene):
    img, masks = scene
    encoder = build(shift=dict(blocks=(0, 1), ratio=0.5, seed=3))
    tokens = {block: torch.randn(1, 32) for block in (0, 1)}
    found = encoder(img, masks, tokens).embeddings
    _, valid, boxes = encoder.crop(img, masks)
    inside = region_masks(masks[valid] > 0.5, boxes, 32)
    background = (~patches_with_mask(inside, 8)).sum(dim=1)
    plain = build()(img, masks).embeddings
    changed = (found - plain).abs().amax(dim=1) > 1e-4
    # Of a single patch no half can be taken.
    assert torch.equal(changed, background >= 2)


def test_shift_does_not_depend_on_batches(build, scene):
    options = dict(shift=dict(blocks=(0, 2), ratio=0.4))
    tokens = {block: torch.randn(1, 32) for block in (0, 2)}
    torch.testing.assert_close(
        build(batch_size=32, **options)(*scene, tokens).embeddings,
        build(batch_size=3, **options)(*scene, tokens).embeddings,
        rtol=1e-4,
        atol=1e-5,
    )


def test_each_crop_can_have_an_image_of_its_own(build):
    encoder = build(shift=dict(blocks=(1,), ratio=1.0), batch_size=2)
    crops = torch.randn(3, 3, 32, 32)
    foreground = torch.zeros(3, 32, 32, dtype=torch.bool)
    foreground[:, :8] = True
    tokens = {1: torch.randn(3, 32)}
    together = encoder.encode(crops, foreground, tokens)
    for index in range(3):
        part = slice(index, index + 1)
        alone = encoder.encode(
            crops[part], foreground[part], {1: tokens[1][part]}
        )
        torch.testing.assert_close(
            alone[0], together[index], rtol=1e-4, atol=1e-5
        )
