# SPDX-License-Identifier: Apache-2.0
"""Every method at a tiny size, also after a training of seconds."""

from copy import deepcopy
from functools import lru_cache

import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import ovseg_mm  # noqa: F401  registers the models

from .. import tiny

COLOURS = ((20, 20, 230), (20, 220, 20), (230, 30, 30), (230, 230, 40))


CONFIGS = tiny.METHODS
METHODS = tuple(CONFIGS)
# Proposals take longer than a test to learn.
TRAINED = tuple(name for name in METHODS if name not in ('zsseg', 'scan'))


def build_method(name: str, **options) -> torch.nn.Module:
    """A method with random weights, in evaluation mode."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    return MODELS.build({**CONFIGS[name](), **options}).eval()


def batch_of(seeds=(0, 1), size=(64, 64)) -> dict:
    """Images of coloured stripes, a colour a class, with their labels."""
    batch = dict(inputs=[], data_samples=[])
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(COLOURS), generator=generator)
        columns = torch.arange(size[1]) * len(order) // size[1]
        labels = order[columns].expand(size)
        img = torch.tensor(COLOURS)[labels].permute(2, 0, 1)
        noise = torch.randint(-20, 20, img.shape, generator=generator)
        sample = SegDataSample(metainfo=dict(ori_shape=size, img_shape=size))
        sample.gt_sem_seg = PixelData(data=labels[None].clone())
        img = (img + noise).clamp(0, 255).byte()
        batch['inputs'].append(img)
        batch['data_samples'].append(sample)
    return batch


@lru_cache
def _trained(name: str) -> torch.nn.Module:
    model = build_method(name).train()
    if name == 'cat_seg':
        torch.nn.init.constant_(model.decode_head.head.bias, -2.0)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=5e-3)
    for step in range(dict(cat_seg=80, cat_seg_v1=60).get(name, 30)):
        batch = batch_of((2 * step, 2 * step + 1))
        losses = model(**model.data_preprocessor(batch, True), mode='loss')
        loss, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return model.eval()


def trained_method(name: str) -> torch.nn.Module:
    """A copy of a method that has seen stripes of four classes."""
    return deepcopy(_trained(name))


def labels_of(model: torch.nn.Module, batch: dict) -> torch.Tensor:
    """Labels of all pixels of a batch, (n,)."""
    samples = model.test_step(deepcopy(batch))
    return torch.cat([s.pred_sem_seg.data.flatten() for s in samples])
