# SPDX-License-Identifier: Apache-2.0
"""The checks of ``base_case.py`` for every head of the package."""

import torch
import torch.nn.functional as F

from ovseg_mm.models import decode_heads
from ovseg_mm.models.decode_heads import (
    CascadeCLIPHead,
    CATSegCostHead,
    CosineHead,
    MaskCLIPHead,
    PixelTextHead,
    SCANHead,
    ZSSegHead,
)
from ovseg_mm.structures import (
    CLIPFeatures,
    CostFeatures,
    ImageContext,
    LevelFeatures,
    PixelFeatures,
)

from ...tiny import cascade_clip, cat_seg
from .base_case import MaskHeadCase, TrainedHeadCase, UntrainedHeadCase

PARTS = {'MaskProposalHead'}  # a part of mask heads, not a head by itself


def normal(*shape: int) -> torch.Tensor:
    """Random features of length 1 along the channels."""
    return F.normalize(torch.randn(shape), dim=1)


def pixel_features(batch, grid, context=None):
    """Mask features at twice the grid and one map."""
    fine = [2 * side for side in grid]
    return PixelFeatures(
        torch.randn(batch, 16, *fine),
        (torch.randn(batch, 16, *grid),),
        context,
    )


def proposals(**decoder) -> dict:
    """Config of four proposals."""
    return dict(
        type='MaskProposalHead',
        mask_channels=16,
        embedding_channels=16,
        hidden_channels=12,
        decoder=dict(
            num_queries=4,
            embed_dims=16,
            num_heads=4,
            feedforward_dims=16,
            **decoder,
        ),
    )


class TestCATSegCostHead(TrainedHeadCase):
    head = CATSegCostHead
    cfg = dict(cat_seg()['decode_head'], pad_len=24)
    stride = 4

    def feats(self, batch, grid):
        guidance = (
            torch.randn(batch, 8, *(scale * side for side in grid))
            for scale in (2, 4)
        )
        image, appearance = torch.randn(2, batch, 16, *grid)
        return CostFeatures(image, appearance, tuple(guidance))


class TestCascadeCLIPHead(TrainedHeadCase):
    head = CascadeCLIPHead
    cfg = cascade_clip()['decode_head']

    def feats(self, batch, grid):
        levels = tuple(normal(batch, 16, *grid) for _ in range(3))
        return LevelFeatures(levels, normal(batch, 16))


class TestPixelTextHead(TrainedHeadCase):
    head = PixelTextHead
    cfg = dict(
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
        in_channels=16,
        text_channels=16,
    )
    stride = 2

    def feats(self, batch, grid):
        return pixel_features(batch, grid)


class TestZSSegHead(MaskHeadCase):
    head = ZSSegHead
    cfg = dict(
        proposals=proposals(
            type='MaskFormerDecoder', in_channels=16, num_layers=2, dropout=0.0
        ),
        loss_decode=dict(type='MaskSetLoss'),
        text_channels=16,
    )

    def feats(self, batch, grid):
        return pixel_features(batch, grid)


class TestSCANHead(MaskHeadCase):
    head = SCANHead
    cfg = dict(
        proposals=proposals(
            type='MaskedAttentionDecoder',
            num_layers=3,
            num_levels=1,
            skip_penultimate=True,
        ),
        integration=dict(
            in_channels=12,
            embed_dims=16,
            blocks=(0,),
            sigmas=(2,),
            num_heads=4,
            num_fusion_layers=1,
            num_encoder_layers=1,
            feedforward_dims=20,
        ),
        loss_decode=dict(type='MaskSetLoss', mask_loss='bce'),
        text_channels=16,
    )

    def feats(self, batch, grid):
        context = ImageContext(
            torch.randn(batch, 16), {0: torch.randn(batch, 17, 12)}
        )
        return pixel_features(batch, grid, context)


class TestCosineHead(UntrainedHeadCase):
    head = CosineHead

    def feats(self, batch, grid):
        dense, keys = torch.randn(2, batch, 16, *grid)
        return CLIPFeatures(dense, torch.randn(batch, 16), (), keys)


class TestMaskCLIPHead(TestCosineHead):
    head = MaskCLIPHead
    cfg = dict(denoise_below=0.3, smooth_below=0.9)


def test_no_head_is_forgotten():
    covered = {
        case.head.__name__
        for name, case in globals().items()
        if name.startswith('Test') and hasattr(case, 'head')
    }
    heads = {
        name
        for name in decode_heads.__all__
        if name.endswith('Head') and not name.startswith('Base')
    }
    assert heads - PARTS == covered
