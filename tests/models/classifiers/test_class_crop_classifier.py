# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from ovseg_mm.models.classifiers import ClassCropClassifier

WORDS = ['cat', 'dog', 'sky', 'sea']


@pytest.fixture
def model(tiny_arch):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    tiny_arch['text_cfg'].update(vocab_size=49408, context_length=12)
    return ClassCropClassifier(
        image_encoder=dict(type='CLIPViT'),
        text_encoder=dict(
            type='CLIPPromptedTextTransformer',
            finetune='prompt',
            prefix_length=3,
        ),
        vocabulary=WORDS,
        train_vocabulary=WORDS[:3],
        clip=dict(arch=tiny_arch),
        prompts=dict(templates=['{}'], average_templates=True),
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            mean=[120.0, 110.0, 100.0],
            std=[60.0, 65.0, 70.0],
            size_divisor=1,
        ),
    )


@pytest.fixture
def batch():
    torch.manual_seed(1)
    samples = []
    for label in (2, 0):
        mask = (torch.rand(1, 40, 32) > 0.5).long()
        samples.append(
            SegDataSample(
                metainfo=dict(crop_label=label),
                gt_sem_seg=PixelData(data=mask),
            )
        )
    return torch.randn(2, 3, 40, 32), samples


def test_logits_by_their_definition(model, batch):
    inputs, samples = batch
    logits = model.eval()(inputs, samples)
    fill = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    text = model.text_bank(model.text_encoder, model.vocabulary)[:, 0]
    for img, sample, row in zip(inputs, samples, logits):
        crop = torch.where(sample.gt_sem_seg.data == 1, img, fill)
        feature = F.normalize(model.image_encoder(crop[None]).cls, dim=1)
        torch.testing.assert_close(
            row, 100 * (feature @ text.t())[0], rtol=1e-4, atol=1e-4
        )


def test_only_the_prompts_learn(model, batch):
    loss = model.train()(*batch, mode='loss')['loss_ce']
    loss.backward()
    trained = [n for n, p in model.named_parameters() if p.grad is not None]
    assert trained == ['text_encoder.prefix_prompt']
    rows = model(*batch)[:, :3]
    torch.testing.assert_close(
        loss, F.cross_entropy(rows, torch.tensor([2, 0])), rtol=1e-4, atol=1e-4
    )


def test_a_few_steps_find_the_classes(model, batch):
    model.train()
    optimizer = torch.optim.SGD([model.text_encoder.prefix_prompt], lr=0.05)
    losses = []
    for _ in range(15):
        loss = model(*batch, mode='loss')['loss_ce']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_predictions(model, batch):
    samples = model.eval()(*batch, mode='predict')
    expected = model(*batch).argmax(1).tolist()
    assert [s.pred_crop_label for s in samples] == expected
    model.prepare_text()
    model.train()
    assert not model.text_bank._memory
