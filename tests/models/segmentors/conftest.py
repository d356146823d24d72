# SPDX-License-Identifier: Apache-2.0
"""A small CAT-Seg with random weights that do not all look alike."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

WORDS = ['cat', 'dog', 'tree', 'blue sky', 'a red car']


def model_config(**options) -> dict:
    arch = dict(
        embed_dim=16,
        vision_cfg=dict(
            image_size=32, layers=2, width=16, head_width=8, patch_size=8
        ),
        text_cfg=dict(width=16, heads=2, layers=1),
    )
    cfg = dict(
        type='OpenVocabSegmentor',
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            mean=[120.0, 110.0, 100.0],
            std=[60.0, 65.0, 70.0],
            bgr_to_rgb=True,
            size_divisor=1,
        ),
        clip=dict(arch=arch, finetune='attention'),
        vocabulary=WORDS,
        backbone=dict(
            type='CLIPViT', last_block='value_cls', out_indices=(0, 1)
        ),
        text_encoder=dict(type='CLIPTextTransformer'),
        neck=dict(
            type='CLIPTokenPyramid', in_channels=16, out_channels=(8, 8)
        ),
        decode_head=dict(
            type='CATSegCostHead',
            text_channels=16,
            appearance_channels=16,
            decoder_guidance_channels=(8, 8),
            embed_dims=16,
            text_guidance_dims=8,
            appearance_guidance_dims=8,
            num_layers=1,
            window_size=3,
            pad_len=8,
            decoder_dims=(16, 16),
            decoder_guidance_dims=(8, 8),
        ),
        test_cfg=dict(mode='whole'),
    )
    head = options.pop('decode_head', {})
    cfg['decode_head'].update(head)
    return {**cfg, **options}


@pytest.fixture(autouse=True)
def scope():
    """As mmseg.apis and the runner set it."""
    init_default_scope('mmseg')


@pytest.fixture
def config():
    """Function from options to the config of the model."""
    return model_config


@pytest.fixture
def build():
    """Function from options to the model in evaluation mode."""

    def build(**options):
        torch.manual_seed(0)
        model = MODELS.build(model_config(**options))
        for name, parameter in model.decode_head.named_parameters():
            std = 1.0 if 'head.head' in name else 0.3
            nn.init.normal_(parameter, std=std)
        return model.eval()

    return build


@pytest.fixture
def sample_of():
    """Function from meta information and labels to a data sample."""

    def make(labels=None, **meta):
        sample = SegDataSample(metainfo=meta)
        if labels is not None:
            sample.gt_sem_seg = PixelData(data=labels[None])
        return sample

    return make
