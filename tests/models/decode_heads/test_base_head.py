# SPDX-License-Identifier: Apache-2.0
"""What a head owes, and that the defaults are enough to train and test."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

from ovseg_mm import models
from ovseg_mm.models import BaseMaskHead, BaseOpenVocabHead
from ovseg_mm.structures import MaskPredictions
from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import UNKNOWN

from ..methods import batch_of, build_method

HEADS = [
    head
    for head in vars(models).values()
    if inspect.isclass(head)
    and issubclass(head, BaseOpenVocabHead)
    and not inspect.isabstract(head)
]


class MeanColourHead(BaseOpenVocabHead):
    """No parameters: similarities of patches and texts."""

    method = 'Mean colours'

    def forward(self, feats, text):
        return torch.einsum('bchw,tc->bthw', feats.dense, text.mean(1))


class OneMaskHead(BaseMaskHead):
    """Two proposals that cover the left and the right, no parameters."""

    method = 'Halves'

    def forward(self, feats, text):
        batch, _, height, width = feats.mask_features.shape
        masks = torch.full((1, batch, 2, height, width), -20.0)
        masks[:, :, 0, :, : width // 2] = 20
        masks[:, :, 1, :, width // 2 :] = 20
        logits = torch.zeros(1, batch, 2, len(text) + 1)
        logits[:, :, 0, 1] = logits[:, :, 1, 0] = 5
        return MaskPredictions(logits, masks)

    def loss(self, feats, text, labels, ignore_index=255, unseen=()):
        return dict(loss=feats.mask_features.mean())


@pytest.fixture(autouse=True)
def registered():
    heads = (MeanColourHead, OneMaskHead)
    for head in heads:
        MODELS.register_module(module=head)
    yield
    for head in heads:
        del MODELS.module_dict[head.__name__]


def logits_head(logits, **options):
    class Given(MeanColourHead):
        def forward(self, feats, text):
            return logits

    for name, value in options.items():
        setattr(Given, name, value)
    return Given(dict(type='CrossEntropyLoss'))


@pytest.mark.parametrize('head', HEADS, ids=lambda head: head.__name__)
def test_every_head_names_its_method(head):
    assert head.method
    assert list(inspect.signature(head.activate).parameters) == [
        'self',
        'logits',
    ]
    expected = ['self', 'feats', 'text', 'labels', 'ignore_index', 'unseen']
    assert list(inspect.signature(head.loss).parameters) == expected


def test_only_cascade_clip_learns_unseen_classes():
    found = {head.__name__ for head in HEADS if head.learns_unseen}
    assert found == {'CascadeCLIPHead'}


def test_default_loss_is_that_of_resized_logits():
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 8, 8))
    labels[0, :2] = 255
    losses = logits_head(logits).loss(None, None, labels)
    large = F.interpolate(logits, (8, 8), mode='bilinear')
    expected = F.cross_entropy(
        large, labels, ignore_index=255, reduction='none'
    ).mean()
    assert list(losses) == ['loss_ce']
    torch.testing.assert_close(losses['loss_ce'], expected)
    losses = logits_head(logits, with_accuracy=True).loss(None, None, labels)
    hits = (large.argmax(1) == labels).sum() / (labels != 255).sum()
    torch.testing.assert_close(losses['acc_seg'].squeeze(), 100 * hits)


def test_default_loss_fills_unseen_classes():
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 2] = 1
    labels = torch.full((1, 2, 2), UNKNOWN)
    head = logits_head(logits, learns_unseen=True)
    losses = head.loss(None, None, labels, unseen=(1, 2))
    expected = F.cross_entropy(logits, torch.full((1, 2, 2), 2))
    torch.testing.assert_close(losses['loss_ce'], expected)


def test_head_without_a_loss_cannot_be_trained():
    with pytest.raises(InputError, match='MeanColourHead has nothing to'):
        MeanColourHead().loss(None, None, torch.zeros(1, 2, 2).long())


def test_dense_head_without_parameters_trains_and_predicts():
    head = dict(
        type='MeanColourHead', loss_decode=dict(type='CrossEntropyLoss')
    )
    backbone = dict(type='CLIPViT', last_block='value', finetune='all')
    model = build_method(
        'cat_seg', decode_head=head, backbone=backbone, neck=None
    )
    batch = batch_of()
    losses = model.train()(**model.data_preprocessor(batch, True), mode='loss')
    losses['decode.loss_ce'].backward()
    assert model.backbone.conv1.weight.grad.abs().sum() > 0
    sample = model.eval().test_step(batch_of())[0]
    assert sample.pred_sem_seg.data.shape == (1, 64, 64)


def test_mask_head_without_parameters_predicts():
    model = build_method('zsseg', decode_head=dict(type='OneMaskHead'))
    labels = model.eval().test_step(batch_of())[0].pred_sem_seg.data[0]
    assert (labels[:, :30] == 1).all() and (labels[:, 34:] == 0).all()


@pytest.mark.parametrize(
    ('method', 'head', 'needed'),
    [
        (
            'cat_seg',
            dict(type='FCNHead', in_channels=4, channels=4),
            'BaseOpenVocabHead',
        ),
        ('zsseg', dict(type='MeanColourHead'), 'BaseMaskHead'),
    ],
)
def test_other_heads_are_refused(method, head, needed):
    with pytest.raises(InputError, match=f'models.{needed}$'):
        build_method(method, decode_head=head)


def test_several_prompts_a_class_are_named():
    with pytest.raises(ValueError, match='average_templates=True'):
        MeanColourHead().one_prompt(torch.zeros(3, 2, 4))
