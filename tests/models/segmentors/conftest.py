# SPDX-License-Identifier: Apache-2.0
"""A small CAT-Seg with random weights that do not all look alike."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from ...tiny import cat_seg


@pytest.fixture(autouse=True)
def scope():
    """As mmseg.apis and the runner set it."""
    init_default_scope('mmseg')


@pytest.fixture
def config():
    """Function from options to the config of the model."""
    return cat_seg


@pytest.fixture
def build():
    """Function from options to the model in evaluation mode."""

    def build(**options):
        torch.manual_seed(0)
        model = MODELS.build(cat_seg(**options))
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
