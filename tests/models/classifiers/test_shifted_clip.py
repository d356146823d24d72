# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from ovseg_mm.checkpoints import fit_to_model, method_of
from ovseg_mm.models.classifiers import shifted_clip

from ...tiny import clip_arch

WORDS = ['cat', 'dog', 'blue sky']


def build(**options):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    cfg = dict(
        type='ShiftedCLIP',
        clip=dict(arch=clip_arch(layers=3)),
        vocabulary=WORDS,
        region_encoder=dict(
            type='CLIPRegionEncoder',
            clip=dict(type='CLIPViT', finetune='all'),
            shift=dict(blocks=(0, 2), ratio=0.5),
        ),
        context_encoder=dict(
            type='CLIPContextEncoder',
            clip=dict(type='CLIPViT', finetune='none', out_indices=(0, 2)),
        ),
        text_encoder=dict(type='CLIPTextTransformer', finetune='none'),
    )
    return MODELS.build({**cfg, **options})


@pytest.fixture
def pairs():
    torch.manual_seed(1)
    crops, images = torch.randint(0, 256, (2, 4, 3, 32, 32)).byte()
    masks = torch.zeros(4, 32, 32, dtype=torch.bool)
    masks[:, :16, :16] = True
    return dict(
        crops=crops,
        masks=masks,
        images=images,
        captions=['a cat', 'the dog', 'blue sky', 'many dogs'],
    )


def test_loss_by_the_formula(pairs):
    model = build().eval()
    loss = model(**pairs, mode='loss')['loss']
    image = model(**pairs)
    text = model._texts(pairs['captions'])
    logits = model.logit_scale.exp() * image @ text.t()
    ways = (logits.log_softmax(dim).diagonal().mean() for dim in (0, 1))
    torch.testing.assert_close(loss, -sum(ways) / 2)
    assert torch.allclose(image.norm(dim=1), torch.ones(4))


def test_region_tower_and_temperature_are_trained(pairs):
    model = build().train()
    model(**pairs, mode='loss')['loss'].backward()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {'logit_scale'} | {
        f'region_encoder.clip.{name}'
        for name, _ in model.region_encoder.clip.named_parameters()
    }
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (name in trained), name


def test_step_of_training(pairs):
    from mmengine.optim import OptimWrapper

    model = build().train()
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = OptimWrapper(torch.optim.SGD(learned, lr=0.01))
    before = model.region_encoder.clip.proj.clone()
    logs = model.train_step(pairs, optimizer)
    assert logs['loss'].isfinite()
    assert not torch.equal(model.region_encoder.clip.proj, before)


@pytest.mark.parametrize(('start', 'end'), [(9.0, 100.0), (-2.0, 1.0)])
def test_temperature_is_clamped(pairs, start, end):
    model = build()
    model.logit_scale.data.fill_(start)
    model(**pairs, mode='loss')
    assert float(model.logit_scale) == pytest.approx(math.log(end))


def test_images_speak_through_the_background(pairs):
    model = build().eval()
    before = model(**pairs)
    changed = dict(pairs, images=255 - pairs['images'])
    assert not torch.allclose(model(**changed), before, atol=1e-4)
    model.region_encoder.shift = None
    torch.testing.assert_close(model(**changed), model(**pairs))


def test_classes_are_found_among_the_vocabulary(pairs):
    model = build().eval()
    pairs['captions'] = ['dog', 'blue sky', 'cat', 'cat']
    found = model(**pairs, mode='predict')
    assert [sample['crop_label'] for sample in found] == [1, 2, 0, 0]
    text = model.text_bank(model.text_encoder, model.vocabulary)[:, 0]
    expected = (model(**pairs) @ text.t()).argmax(dim=1).tolist()
    assert [s['pred_crop_label'] for s in found] == expected
    pairs['captions'][0] = 'horse'
    with pytest.raises(ValueError, match="test caption 'horse'"):
        model(**pairs, mode='predict')


def test_negatives_of_other_processes(pairs, monkeypatch):
    """Each process sees all pairs, and has a gradient through its own."""
    model = build().eval()
    image, text = F.normalize(torch.randn(2, 4, 16), dim=2)
    image.requires_grad_()
    others = F.normalize(torch.randn(2, 4, 16), dim=2)

    def gather(x):
        assert not x.requires_grad
        first = torch.equal(x, image.detach())
        return [others[0 if first else 1].clone(), x.clone()]

    monkeypatch.setattr(shifted_clip, 'get_world_size', lambda: 2)
    monkeypatch.setattr(shifted_clip, 'get_rank', lambda: 1)
    monkeypatch.setattr(shifted_clip, 'all_gather', gather)
    loss = model._contrast(image, text)
    logits = model.logit_scale.exp() * (
        torch.cat([others[0], image]) @ torch.cat([others[1], text]).t()
    )
    ways = (logits.log_softmax(dim).diagonal().mean() for dim in (0, 1))
    torch.testing.assert_close(loss, -sum(ways) / 2)
    loss.backward()
    assert image.grad.abs().sum() > 0


def test_own_checkpoint_is_loaded_as_it_is():
    tensors = build().state_dict()
    layout, renamed = fit_to_model(build(), tensors, 'the checkpoint')
    assert layout is None
    assert renamed.state_dict.keys() == tensors.keys()
    assert method_of(build()) == 'SCAN, CLIP with contextual shift'


def test_blocks_without_context():
    with pytest.raises(ValueError, match='region_encoder.shift needs'):
        build(
            context_encoder=dict(
                type='CLIPContextEncoder',
                clip=dict(type='CLIPViT', out_indices=(0,)),
            )
        )


def test_text_tower_is_never_trained():
    with pytest.raises(ValueError, match='text_encoder has trainable'):
        build(text_encoder=dict(type='CLIPTextTransformer', finetune='all'))
