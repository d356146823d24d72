# SPDX-License-Identifier: Apache-2.0
"""ZSSeg at a tiny size, from pixels to labels."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from ovseg_mm.inference import postprocess, score_map

from ...tiny import WORDS, zsseg


def build(**options):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(zsseg(**options))
    # Masks and classes that differ from query to query.
    torch.nn.init.normal_(model.decode_head.proposals.mask_embed[4].weight)
    torch.nn.init.normal_(model.decode_head.proposals.class_embed[2].weight)
    return model.eval()


def batch_of(*sizes, ori=None):
    torch.manual_seed(1)
    images = [
        torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes
    ]
    samples = [
        SegDataSample(metainfo=dict(img_shape=size, ori_shape=ori or size))
        for size in sizes
    ]
    return dict(inputs=images, data_samples=samples)


@pytest.mark.parametrize('ensemble', [0.8, 0.0, None])
def test_scores_by_the_definition(ensemble):
    model = build(
        decode_head=dict(ensemble_weight=ensemble),
        test_cfg=dict(keep_scores=True),
    )
    batch = batch_of((70, 50), ori=(90, 80))
    (sample,) = model.test_step(batch)
    img = model.data_preprocessor(batch_of((70, 50)))['inputs'].float()
    head = model.decode_head
    with torch.no_grad():
        feats = model.neck(model.backbone(F.pad(img, (0, 14, 0, 26))))
        text = model.text_embeddings(model.vocabulary)
        classes, masks = (x[-1, 0] for x in head(feats, text))
        masks = F.interpolate(masks[None], (96, 64), mode='bilinear')[0]
        masks = masks[:, :70, :50].sigmoid()
        if ensemble is None:
            weights = head.class_weights(classes)
        else:
            pixels = batch_of((70, 50))['inputs'][0].flip(0).float()
            regions = model.region_encoder(pixels, masks)
            seen = torch.tensor([True, True, False, True, False])
            weights = head.class_weights(
                classes,
                head.region_logits(regions.embeddings, text),
                regions.valid,
                seen,
            )
        scores = torch.einsum('qt,qhw->thw', weights, masks)
        scores = F.interpolate(scores[None], (90, 80), mode='bilinear')[0]
    torch.testing.assert_close(
        sample.seg_logits.data, scores, rtol=1e-3, atol=1e-4
    )
    assert torch.equal(sample.pred_sem_seg.data[0], scores.argmax(0))


def test_a_batch_is_its_images_one_by_one():
    model = build(test_cfg=dict(keep_scores=True))
    sizes = (70, 50), (70, 50), (33, 90)
    together = model.test_step(batch_of(*sizes))
    images = batch_of(*sizes)['inputs']
    for sample, img, size in zip(together, images, sizes):
        alone = batch_of(size)
        alone['inputs'] = [img]
        (expected,) = model.test_step(alone)
        torch.testing.assert_close(
            sample.seg_logits.data,
            expected.seg_logits.data,
            rtol=1e-3,
            atol=1e-4,
        )


def test_classes_come_in_chunks(monkeypatch):
    model = build()
    (at_once,) = model.test_step(batch_of((64, 48)))
    monkeypatch.setattr(postprocess, 'CLASSES_AT_A_TIME', 2)
    seen = []
    inner = score_map.view_logits

    def spy(encoded, classes):
        scores = inner(encoded, classes)
        seen.append(len(scores[0]))
        return scores

    monkeypatch.setattr(score_map, 'view_logits', spy)
    (in_chunks,) = model.test_step(batch_of((64, 48)))
    assert seen == [2, 2, 1]
    assert torch.equal(at_once.pred_sem_seg.data, in_chunks.pred_sem_seg.data)


def test_windows_and_flips():
    model = build(
        test_cfg=dict(
            mode='slide', crop_size=(48, 48), stride=(32, 32), keep_scores=True
        )
    )
    (sample,) = model.test_step(batch_of((70, 50)))
    scores = sample.seg_logits.data
    # A flipped image is flipped back at the end.
    batch = batch_of((70, 50))
    batch['data_samples'][0].set_metainfo(
        dict(flip=True, flip_direction='horizontal')
    )
    (flipped,) = model.test_step(batch)
    torch.testing.assert_close(flipped.seg_logits.data, scores.flip(2))
    # Windows are averaged where they overlap.
    total, count = torch.zeros_like(scores), torch.zeros(1, 70, 50)
    model.test_cfg['mode'] = 'whole'
    for top, left in ((0, 0), (0, 2), (22, 0), (22, 2)):
        rows, columns = slice(top, top + 48), slice(left, left + 48)
        place = slice(None), rows, columns
        batch = batch_of((70, 50))
        batch['inputs'] = [img[place] for img in batch['inputs']]
        batch['data_samples'] = batch_of((48, 48))['data_samples']
        (window,) = model.test_step(batch)
        total[place] += window.seg_logits.data
        count[place] += 1
    torch.testing.assert_close(scores, total / count, rtol=1e-3, atol=1e-4)


def test_an_image_without_any_region():
    model = build(
        region_encoder=dict(mask_threshold=1.0),
        test_cfg=dict(keep_scores=True),
    )
    img = model.data_preprocessor(batch_of((40, 40)))['inputs'].float()
    with torch.no_grad():
        feats = model.neck(model.backbone(F.pad(img, (0, 24, 0, 24))))
        text = model.text_embeddings(model.vocabulary)
        classes, masks = (x[-1, 0] for x in model.decode_head(feats, text))
    masks = F.interpolate(masks[None], (64, 64), mode='bilinear')[0]
    masks = masks[:, :40, :40].sigmoid()
    probs = classes.softmax(dim=1)[:, :5]
    seen = torch.tensor([True, True, False, True, False])
    powers = torch.where(seen, 0.8, 0.2)
    for weight, votes in ((0.8, probs**powers), (0.0, probs * 0)):
        model.decode_head.ensemble_weight = weight
        (sample,) = model.test_step(batch_of((40, 40)))
        scores = torch.einsum('qt,qhw->thw', votes, masks)
        torch.testing.assert_close(
            sample.seg_logits.data, scores, rtol=1e-3, atol=1e-4
        )


def test_texts_of_the_regions_own():
    shared = build()
    own = build(
        region_text_encoder=dict(
            type='CLIPPromptedTextTransformer', prefix_length=4
        ),
        region_prompts=dict(templates=['{}'], average_templates=True),
    )
    text = own.region_text_embeddings(own.vocabulary)
    assert text.shape == (5, 1, 16)
    assert not torch.allclose(text, own.text_embeddings(own.vocabulary))
    same = shared.region_text_embeddings(shared.vocabulary)
    assert torch.equal(same, shared.text_embeddings(shared.vocabulary))
    own.prepare_text()
    own.train()
    assert not own.region_text_bank._memory


def test_unseen_texts_follow_labels():
    model = build(
        vocabulary=dict(
            class_texts=WORDS,
            label_names=['animal', 'thing'],
            prompt_to_label=[0, 0, 1, 1, 1],
            unseen=['thing'],
        )
    )
    assert model._seen('cpu').tolist() == [True, True, False, False, False]
    model.set_vocabulary(WORDS)
    assert model._seen('cpu') is None


def test_training_step_pads_images_and_labels():
    model = build().train()
    batch = batch_of((50, 70), (50, 70))
    for sample in batch['data_samples']:
        labels = torch.randint(0, 5, (1, 50, 70))
        labels[:, :9] = 255
        sample.gt_sem_seg = PixelData(data=labels)
    data = model.data_preprocessor(batch, training=True)
    losses = model(**data, mode='loss')
    assert set(losses) == {
        f'decode.loss_{part}{suffix}'
        for part in ('ce', 'mask', 'dice')
        for suffix in ('', '_0')
    }
    sum(losses.values()).backward()
    idle = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert idle == []


def test_proposals_that_decide():
    model = build(test_cfg=dict(keep_proposals=3))
    (sample,) = model.test_step(batch_of((64, 48), ori=(80, 60)))
    proposals = sample.proposals
    assert 1 <= len(proposals) <= 3
    assert proposals.masks.shape[1:] == (80, 60)
    assert proposals.masks.dtype == torch.bool
    assert ((proposals.scores > 0) & (proposals.scores <= 1)).all()
    assert proposals.labels.max() < 5


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match='has no region_encoder'):
        build(region_encoder=None)
    with pytest.raises(ValueError, match='size_divisor=0; expected 1'):
        build(size_divisor=0)
    build(region_encoder=None, decode_head=dict(ensemble_weight=None))
    with pytest.raises(ValueError, match='needs mean and std'):
        cfg = zsseg()
        cfg['data_preprocessor'] = dict(type='SegDataPreProcessor')
        MODELS.build(cfg)


def test_pruned_proposals_neither_vote_nor_reach_clip():
    votes, crops = {}, {}
    for share in (0, 1e-9, 1):
        model = build(test_cfg=dict(prune_regions=share))
        # All masks are the whole image, so that one proposal is strongest.
        model._full_size = lambda logits, size: logits.new_full(
            (len(logits), *size), 6.0
        )
        seen = []
        model.region_encoder.register_forward_hook(
            lambda *args, seen=seen: seen.append(args[1][1])
        )
        img = model.data_preprocessor(batch_of((70, 50)))['inputs'].float()
        with torch.no_grad():
            votes[share] = model.encode_views([img])[0]
        crops[share] = len(seen[0])
    whole, one = votes[0], votes[1]
    assert torch.equal(votes[1e-9].weights, whole.weights)
    assert crops == {0: 6, 1e-9: 6, 1: 1}
    kept = one.weights[0].any(dim=1)
    assert kept.sum() == 1
    assert one.region_probs[0, ~kept].isnan().all()
    # What is left votes as it does among all.
    torch.testing.assert_close(one.weights[0, kept], whole.weights[0, kept])
    torch.testing.assert_close(one.proposal_probs, whole.proposal_probs)


def test_share_of_pruning():
    with pytest.raises(ValueError, match='prune_regions=2; expected a number'):
        build(test_cfg=dict(prune_regions=2))


def test_words_of_masks_are_not_limited():
    with pytest.raises(ValueError, match='max_words=2 has no effect on'):
        build(test_cfg=dict(max_words=2))
