# SPDX-License-Identifier: Apache-2.0
"""SCAN at a tiny size, from pixels to labels."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from ...tiny import WORDS, scan


def build(cfg=None):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(cfg or scan())
    # Masks that differ from query to query.
    torch.nn.init.normal_(model.decode_head.proposals.mask_embed[4].weight)
    return model.eval()


def batch_of(*sizes, labels=False):
    torch.manual_seed(1)
    batch = dict(inputs=[], data_samples=[])
    for size in sizes:
        img = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
        if labels:
            truth = torch.randint(0, len(WORDS), (1, *size))
            sample.gt_sem_seg = PixelData(data=truth)
        batch['inputs'].append(img)
        batch['data_samples'].append(sample)
    return batch


def test_each_image_has_a_context_of_its_own():
    """The class tokens of an image are not those of the first one."""
    model = build()
    together = model.test_step(batch_of((70, 50), (70, 50), (64, 64)))
    batch = batch_of((70, 50), (70, 50), (64, 64))
    for index, sample in enumerate(together):
        (alone,) = model.test_step(
            {key: value[index : index + 1] for key, value in batch.items()}
        )
        torch.testing.assert_close(
            alone.seg_logits.data, sample.seg_logits.data, rtol=1e-4, atol=1e-5
        )
        assert alone.pred_sem_seg.data.shape == (1, *sample.ori_shape)


@pytest.mark.parametrize('weight', [0.0, 0.7])
@pytest.mark.parametrize('keep', [True, False])
def test_image_without_any_region_has_a_label_map(weight, keep):
    model = build()
    model.decode_head.ensemble_weight = weight
    model.decode_head.keep_no_object = keep
    model.region_encoder.mask_threshold = 1.0
    (sample,) = model.test_step(batch_of((40, 50)))
    model.decode_head.ensemble_weight = None
    (expected,) = model.test_step(batch_of((40, 50)))
    torch.testing.assert_close(
        sample.seg_logits.data, expected.seg_logits.data
    )
    labels = sample.pred_sem_seg.data
    assert torch.equal(labels, expected.pred_sem_seg.data)


def test_prediction_repeats():
    model = build()
    first, again = (
        model.test_step(batch_of((70, 50)))[0].seg_logits.data
        for _ in range(2)
    )
    assert torch.equal(first, again)
    model.region_encoder.shift.seed = 1
    (other,) = model.test_step(batch_of((70, 50)))
    assert not torch.equal(other.seg_logits.data, first)


def test_context_sees_pixels_and_zeros_behind_them():
    """CLIP's own statistics; what is padded is CLIP's mean colour."""
    model, given = build(), []
    model.context_encoder.clip.register_forward_pre_hook(
        lambda _, args: given.append(args[0])
    )
    batch = batch_of((60, 40))
    pixels = batch['inputs'][0].flip(0).float()
    model.test_step(batch)
    encoder = model.context_encoder
    expected = torch.zeros(3, 64, 64)
    expected[:, :60, :40] = (pixels - encoder.mean) / encoder.std
    torch.testing.assert_close(
        given[0][0], expected[:, ::2, ::2], rtol=1e-4, atol=1e-5
    )


def test_training_leaves_clip_alone():
    model = build().train()
    batch = model.data_preprocessor(
        batch_of((64, 64), (64, 64), labels=True), True
    )
    losses = model(**batch, mode='loss')
    sum(losses.values()).backward()
    frozen = ('text_encoder.', 'region_encoder.', 'context_encoder.')
    for name, parameter in model.named_parameters():
        trained = not name.startswith(frozen)
        assert parameter.requires_grad == trained, name
        assert (parameter.grad is not None) == trained, name


def test_ablations():
    """Without integration, without shift, and without either."""
    cfg = scan()
    cfg['decode_head']['integration'] = None
    assert build(cfg).test_step(batch_of((40, 50)))
    cfg['region_encoder']['shift'] = None
    cfg['context_encoder'] = None
    model = build(cfg)
    assert model.context_encoder is None
    assert model.test_step(batch_of((40, 50)))
    cfg = scan()
    cfg['region_encoder']['shift'] = None
    assert build(cfg).test_step(batch_of((40, 50)))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda cfg: cfg.update(context_encoder=None),
            'decode_head uses CLIP features of the whole image',
        ),
        (
            lambda cfg: cfg['region_encoder']['shift'].update(blocks=(1,)),
            r'region_encoder.shift needs the tokens after the blocks \[1\]',
        ),
        (
            lambda cfg: cfg['decode_head']['integration'].update(blocks=(1,)),
            r'decode_head needs the tokens after the blocks \[1\]',
        ),
    ],
)
def test_context_that_is_missing(change, message):
    cfg = scan()
    change(cfg)
    with pytest.raises(ValueError, match=message):
        build(cfg)
