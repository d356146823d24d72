# SPDX-License-Identifier: Apache-2.0
"""What users of MMSegmentation's heads bring along."""

from copy import deepcopy

import pytest
import torch
from mmseg.registry import MODELS
from torch import nn

from ovseg_mm.engine.hooks import recompute_activations
from ovseg_mm.utils.errors import InputError

from .methods import CONFIGS, METHODS, batch_of, build_method, labels_of

DENSE = [name for name in METHODS if name not in ('zsseg', 'scan')]


def build(name, head):
    cfg = deepcopy(CONFIGS[name]())
    cfg['decode_head'].update(head)
    torch.manual_seed(0)
    return MODELS.build(cfg).train()


def losses_of(model, **options):
    batch = batch_of((0, 1))
    for sample in batch['data_samples']:
        sample.gt_sem_seg.data[:, :9] = 255
    if options:
        model.data_preprocessor.size = options['size']
        model.data_preprocessor.size_divisor = None
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert loss.isfinite()
    return {key: float(value) for key, value in losses.items()}


@pytest.fixture(autouse=True)
def scope():
    build_method('per_pixel')


@pytest.mark.parametrize('name', DENSE)
def test_lists_of_losses_ours_and_others(name):
    kinds = [
        dict(type='CrossEntropyLoss', loss_weight=0.5),
        dict(type='OhemCrossEntropy', min_kept=100, loss_name='loss_ohem'),
        dict(type='DiceLoss', loss_name='loss_dice'),
        dict(type='LovaszLoss', reduction='none', loss_name='loss_lovasz'),
        dict(type='DenseFocalLoss', loss_name='loss_focal'),
        dict(type='DenseBCELoss'),
    ]
    names = 'ce', 'ohem', 'dice', 'lovasz', 'focal', 'bce'
    together = losses_of(build(name, dict(loss_decode=kinds)))
    for key, kind in zip(names, kinds):
        alone = losses_of(build(name, dict(loss_decode=kind)))
        value = alone[f'decode.loss_{key}']
        assert value > 0
        assert together[f'decode.loss_{key}'] == pytest.approx(value, rel=1e-4)
    twice = losses_of(build(name, dict(loss_decode=[kinds[0]] * 2)))
    assert twice['decode.loss_ce'] == pytest.approx(
        2 * together['decode.loss_ce'], rel=1e-4
    )


@pytest.mark.parametrize('name', ['zsseg', 'scan'])
def test_mask_heads_say_which_loss_they_take(name):
    for loss in (dict(type='CrossEntropyLoss'), [dict(type='MaskSetLoss')]):
        with pytest.raises(InputError, match='MaskSetLoss'):
            build(name, dict(loss_decode=loss))


@pytest.mark.parametrize('name', METHODS)
def test_options_of_other_heads(name):
    wanted = dict(
        num_classes=5 if name != 'scan' else None,
        ignore_index=255,
        align_corners=False,
        sampler=None,
    )
    if name == 'scan':
        del wanted['num_classes']
    build(name, wanted)
    for key, value, advice in (
        ('sampler', dict(type='OHEMPixelSampler'), 'OhemCrossEntropy'),
        ('ignore_index', 7, 'ignored label'),
        ('num_classes', 150, 'train_vocabulary'),
        ('align_corners', True, 'remove align_corners'),
    ):
        with pytest.raises(InputError, match=advice):
            build(name, {key: value})
    with pytest.raises(InputError, match='loss_decode'):
        build_method(name, auxiliary_head=dict(type='FCNHead'))


@pytest.mark.parametrize('name', METHODS)
def test_batches_padded_to_a_size(name):
    losses_of(build(name, {}), size=(80, 96))


# Modules of CAT-Seg that docs/train.md names.
CAT_SEG_PARTS = (
    'backbone.transformer.resblocks.*',
    'text_encoder.transformer.resblocks.*',
    'decode_head.layers.*.spatial.blocks.*',
    'decode_head.upsample_blocks.*',
)


@pytest.mark.parametrize(
    ('name', 'names'),
    [
        *((name, ('backbone', 'decode_head')) for name in METHODS),
        ('cat_seg', CAT_SEG_PARTS),
    ],
)
def test_activation_checkpointing(name, names):
    plain, saving = build(name, {}), build(name, {})
    recompute_activations(saving, names)
    torch.manual_seed(1)
    wanted = losses_of(plain)
    torch.manual_seed(1)
    assert losses_of(saving) == pytest.approx(wanted, rel=1e-4)
    gradients = dict(plain.named_parameters())
    for key, parameter in saving.named_parameters():
        other = gradients[key].grad
        assert (parameter.grad is None) == (other is None), key
        if other is not None:
            torch.testing.assert_close(
                parameter.grad, other, rtol=1e-3, atol=1e-4
            )


@pytest.mark.parametrize('name', METHODS)
def test_dynamic_quantisation(name):
    model = build_method(name)
    small = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    batch = batch_of([0])
    found = labels_of(small, batch)
    assert found.shape == (64 * 64,)
    assert (found == labels_of(model, batch)).double().mean() > 0.2


def test_modules_that_are_not_there():
    for name in ('back_bone', 'backbone.*.conv', 'resblocks.*'):
        with pytest.raises(InputError, match='backbone, neck'):
            recompute_activations(build_method('cat_seg'), [name])


def test_focal_loss_of_mmseg_names_ours():
    model = build('per_pixel', dict(loss_decode=dict(type='FocalLoss')))
    with pytest.raises(InputError, match='DenseFocalLoss'):
        losses_of(model)
