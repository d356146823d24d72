# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import nn

from ovseg_mm.models import GuidedCLIP

CLIP_MEAN = torch.tensor([122.7709383, 116.7460125, 104.09373615])
CLIP_STD = torch.tensor([68.5005327, 66.6321579, 70.3231630])
MEAN = torch.tensor([123.675, 116.28, 103.53])
STD = torch.tensor([58.395, 57.12, 57.375])


@MODELS.register_module()
class PyramidForTests(BaseModule):
    """Keeps its input and gives maps at strides 4, 8 and 16."""

    def __init__(self, num_maps: int = 3) -> None:
        super().__init__()
        self.norm0 = nn.Conv2d(3, 4, 1)
        self.conv = nn.Conv2d(3, 4, 1)
        self.num_maps = num_maps

    def forward(self, x):
        self.seen = x
        maps = (self.norm0(x), self.conv(x), self.conv(x))
        sizes = [[-(-side // s) for side in x.shape[2:]] for s in (4, 8, 16)]
        maps = [F.adaptive_avg_pool2d(*pair) for pair in zip(maps, sizes)]
        return tuple(maps[: self.num_maps])


@pytest.fixture
def build(tiny_arch):
    """Function from options to a module; CLIP has patches of 8, 32 pixels."""

    def build(input_size=(32, 32), guidance=None, **options):
        return GuidedCLIP(
            clip=dict(type='CLIPViT', arch=tiny_arch, input_size=input_size),
            guidance=guidance or dict(type='PyramidForTests'),
            **options,
        )

    return build


def test_each_sees_the_image_under_its_own_statistics(build):
    module = build()
    seen = {}
    module.clip.register_forward_pre_hook(
        lambda _, inputs: seen.update(img=inputs[0])
    )
    img = 255 * torch.rand(2, 3, 64, 64)
    before = img.clone()
    module(img)
    shape = (1, 3, 1, 1)
    torch.testing.assert_close(
        seen['img'], (img - CLIP_MEAN.view(shape)) / CLIP_STD.view(shape)
    )
    torch.testing.assert_close(
        module.guidance.seen, (img - MEAN.view(shape)) / STD.view(shape)
    )
    assert torch.equal(img, before)


def test_equal_statistics_share_one_tensor(build):
    same = dict(guidance_mean=CLIP_MEAN.tolist(), mean=CLIP_MEAN.tolist())
    module = build(**same, guidance_std=tuple(STD.tolist()), std=STD.tolist())
    seen = {}
    module.clip.register_forward_pre_hook(
        lambda _, inputs: seen.update(img=inputs[0])
    )
    module(torch.rand(1, 3, 64, 64))
    assert module.guidance.seen is seen['img']


def test_maps_of_the_guidance(build):
    module = build()
    feats = module(255 * torch.rand(2, 3, 64, 64))
    middle, fine = feats.decoder
    assert feats.image.shape == (2, 24, 4, 4)
    assert feats.appearance.shape == (2, 4, 4, 4)
    assert middle.shape == (2, 4, 8, 8) and fine.shape == (2, 4, 16, 16)
    expected = module.guidance(module.guidance.seen)
    assert all(map(torch.equal, expected, (fine, middle, feats.appearance)))


@pytest.mark.parametrize('size', [(60, 63), (33, 100), (16, 16), (200, 72)])
def test_maps_are_brought_to_the_patch_grid(build, size):
    module = build()
    feats = module(255 * torch.rand(1, 3, *size))
    middle, fine = feats.decoder
    assert feats.image.shape[2:] == (4, 4)
    assert feats.appearance.shape[2:] == (4, 4)
    assert middle.shape[2:] == (8, 8) and fine.shape[2:] == (16, 16)


def test_grid_follows_the_image_without_input_size(build):
    feats = build(input_size=None)(255 * torch.rand(1, 3, 64, 48))
    assert feats.image.shape[2:] == (8, 6) == feats.appearance.shape[2:]


@pytest.mark.parametrize(
    ('frozen', 'trained'), [((), 4), (('norm0',), 2), (('',), 0)]
)
def test_frozen_parameters(build, frozen, trained):
    module = build(frozen=frozen)
    names = [
        name
        for name, parameter in module.guidance.named_parameters()
        if parameter.requires_grad
    ]
    assert len(names) == trained
    assert not any('norm0' in name for name in names) or not frozen


def test_statistics_are_not_saved(build):
    assert not any('statistics' in name for name in build().state_dict())


def test_wrong_number_of_maps(build):
    module = build(guidance=dict(type='PyramidForTests', num_maps=2))
    with pytest.raises(ValueError, match='gives 2 maps; set its out_indices'):
        module(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize(
    'guidance',
    [
        dict(
            type='ResNet',
            depth=50,
            base_channels=4,
            stem_channels=4,
            num_stages=3,
            out_indices=(0, 1, 2),
            dilations=(1, 1, 1),
            strides=(1, 2, 2),
        ),
        dict(
            type='SwinTransformer',
            embed_dims=8,
            depths=(1, 1, 1),
            num_heads=(1, 1, 1),
            strides=(4, 2, 2),
            out_indices=(0, 1, 2),
        ),
        dict(
            type='mmpretrain.ConvNeXt',
            arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 8, 8]),
            out_indices=(0, 1, 2),
            gap_before_final_norm=False,
        ),
    ],
    ids=lambda guidance: guidance['type'],
)
def test_backbones_of_any_registry(build, guidance):
    if guidance['type'].startswith('mmpretrain'):
        pytest.importorskip('mmpretrain')
    module = build(guidance=guidance)
    feats = module(255 * torch.rand(2, 3, 64, 64))
    assert feats.appearance.shape[2:] == (4, 4)
    assert [part.shape[2] for part in feats.decoder] == [8, 16]
