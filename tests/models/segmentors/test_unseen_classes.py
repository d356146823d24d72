# SPDX-License-Identifier: Apache-2.0
"""Training learns nothing from the labels of unseen classes."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmseg.registry import MODELS
from PIL import Image

from ovseg_mm.datasets import OpenVocabDataset

from ...tiny import WORDS, clip_arch

UNSEEN = [1, 3]
SPLIT = dict(class_texts=WORDS, unseen=UNSEEN)


def build(train_vocabulary):
    torch.manual_seed(0)
    cfg = dict(
        type='OpenVocabSegmentor',
        data_preprocessor=dict(type='SegDataPreProcessor', size_divisor=1),
        clip=dict(arch=clip_arch(layers=3), finetune='none'),
        prompts=dict(templates=['a photo of a {}']),
        vocabulary=SPLIT,
        train_vocabulary=train_vocabulary,
        backbone=dict(
            type='CLIPViT',
            out_indices=(0, 1),
            prompts=dict(depth=3, length=2, projection=True, norm=True),
            finetune='prompt',
        ),
        text_encoder=dict(type='CLIPTextTransformer'),
        neck=dict(
            type='CLIPLevelProjection',
            in_channels=16,
            out_channels=16,
            num_levels=2,
        ),
        decode_head=dict(
            type='CascadeCLIPHead',
            embed_dims=16,
            group_sizes=(2, 1),
            num_heads=2,
            dropout=0.0,
        ),
        test_cfg=dict(mode='whole', seen_penalty=0.1, keep_scores=True),
    )
    return MODELS.build(cfg).train()


@pytest.fixture
def write(tmp_path):
    """Function from label maps (B, H, W) to a batch of the data set."""

    def write(labels, unseen_labels):
        folder = tmp_path / unseen_labels
        for index, label in enumerate(labels):
            pixels = np.random.RandomState(index).randint(0, 255, (40, 48, 3))
            for name, array in (('images', pixels), ('labels', label)):
                (folder / name).mkdir(parents=True, exist_ok=True)
                image = Image.fromarray(array.astype(np.uint8))
                image.save(folder / name / f'{index}.png')
        dataset = OpenVocabDataset(
            vocabulary=SPLIT,
            data_prefix=dict(
                img_path=str(folder / 'images'),
                seg_map_path=str(folder / 'labels'),
            ),
            img_suffix='.png',
            unseen_labels=unseen_labels,
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadOpenVocabAnnotations'),
                dict(type='PackSegInputs'),
            ],
        )
        return pseudo_collate([dataset[0], dataset[1]])

    return write


@pytest.fixture
def labels():
    labels = np.random.RandomState(7).randint(0, 5, (2, 5, 6))
    labels = np.kron(labels, np.ones((8, 8), int))
    labels[:, :3] = 255
    return labels


def step(model, batch):
    """Losses and gradients of one step."""
    data = model.data_preprocessor(batch, training=True)
    losses = model(**data, mode='loss')
    total, _ = model.parse_losses(losses)
    model.zero_grad()
    total.backward()
    grads = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return {key: value.detach() for key, value in losses.items()}, grads


def other_identities(labels):
    """The same places, but each unseen class is taken for the other."""
    return np.select([labels == 1, labels == 3], [3, 1], labels)


def test_inductive_training_takes_unseen_pixels_for_ignored_ones(
    write, labels
):
    model = build(dict(SPLIT, subset='seen'))
    expected = step(model, write(labels, 'ignore'))
    for changed in (
        other_identities(labels),
        np.where(np.isin(labels, UNSEEN), 255, labels),
    ):
        assert (changed != labels).any()
        torch.testing.assert_close(
            step(model, write(changed, 'ignore')), expected, rtol=0, atol=0
        )
    # Seen labels do matter.
    changed = np.where(labels == 2, 0, labels)
    losses, _ = step(model, write(changed, 'ignore'))
    assert losses['decode.loss_mask'] != expected[0]['decode.loss_mask']


def test_inductive_training_reads_no_unseen_text(write, labels, monkeypatch):
    model = build(dict(SPLIT, subset='seen'))
    read = []
    encode = model.text_bank._encode
    monkeypatch.setattr(
        model.text_bank,
        '_load_or_encode',
        lambda encoder, vocabulary: (
            read.extend(vocabulary.names),
            encode(encoder, vocabulary),
        )[1],
    )
    logits = []
    model.decode_head.loss_decode[0].register_forward_hook(
        lambda _module, inputs, _output: logits.append(inputs[0])
    )
    step(model, write(labels, 'ignore'))
    assert read == ['cat', 'tree', 'a red car']
    assert logits[0].shape[1] == 3, 'no logit of an unseen class exists'


def test_transductive_training_knows_places_but_not_identities(write, labels):
    model = build(SPLIT)
    expected = step(model, write(labels, 'mark'))
    torch.testing.assert_close(
        step(model, write(other_identities(labels), 'mark')),
        expected,
        rtol=0,
        atol=0,
    )
    ignored = np.where(np.isin(labels, UNSEEN), 255, labels)
    losses, _ = step(model, write(ignored, 'mark'))
    assert losses['decode.loss_mask'] != expected[0]['decode.loss_mask']


def test_the_model_hides_what_the_data_set_shows(write, labels):
    for vocabulary, unseen_labels in (
        (dict(SPLIT, subset='seen'), 'ignore'),
        (SPLIT, 'mark'),
    ):
        model = build(vocabulary)
        expected = step(model, write(labels, unseen_labels))
        torch.testing.assert_close(
            step(model, write(labels, 'keep')), expected, rtol=0, atol=0
        )


def test_renumbered_labels_do_not_pass_for_the_whole(write, labels):
    with pytest.raises(ValueError, match='have 3 labels.* has 5'):
        step(build(SPLIT), write(labels, 'ignore'))


def test_text_tower_and_projections_stay_as_they_are(write, labels):
    _, grads = step(build(SPLIT), write(labels, 'mark'))
    assert {name.split('.')[0] for name in grads} == {
        'backbone',
        'decode_head',
    }
    assert {n for n in grads if n.startswith('backbone.')} == {
        'backbone.prompt_tokens',
        'backbone.prompt_proj.weight',
        'backbone.prompt_proj.bias',
        'backbone.prompt_norm.weight',
        'backbone.prompt_norm.bias',
    }


def test_seen_classes_are_penalised_in_tests_alone():
    model = build(SPLIT).eval()
    img = torch.randn(1, 3, 40, 48)
    with torch.no_grad():
        lowered = model.inference(img)
        model.test_cfg['seen_penalty'] = 0.0
        scores = model.inference(img)
    expected = scores.clone()
    expected[:, [0, 2, 4]] -= 0.1
    torch.testing.assert_close(lowered, expected)


def test_one_word_is_found_in_spite_of_the_penalty():
    model = build(SPLIT).eval()
    model.set_vocabulary(['cat'])
    img = torch.randn(1, 3, 40, 48)
    (lowered,) = model.predict(img)
    model.test_cfg['seen_penalty'] = 0.0
    (plain,) = model.predict(img)
    torch.testing.assert_close(
        lowered.pred_sem_seg.data, plain.pred_sem_seg.data
    )
