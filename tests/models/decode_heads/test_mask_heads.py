# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F

from ovseg_mm.models import MaskProposalHead, PixelTextHead, ZSSegHead
from ovseg_mm.structures import PixelFeatures

PROPOSALS = dict(
    type='MaskProposalHead',
    mask_channels=6,
    embedding_channels=10,
    hidden_channels=12,
    decoder=dict(
        type='MaskFormerDecoder',
        in_channels=8,
        num_queries=5,
        embed_dims=16,
        num_heads=4,
        num_layers=2,
        feedforward_dims=16,
        dropout=0.0,
    ),
)


def build(**options) -> ZSSegHead:
    torch.manual_seed(0)
    return ZSSegHead(
        proposals=PROPOSALS,
        loss_decode=dict(type='MaskSetLoss'),
        text_channels=10,
        **options,
    )


@pytest.fixture
def feats():
    torch.manual_seed(1)
    return PixelFeatures(torch.randn(2, 6, 8, 12), (torch.randn(2, 8, 2, 3),))


@pytest.fixture
def text():
    return F.normalize(torch.randn(4, 1, 10), dim=2)


def test_proposals(feats):
    head = build().proposals
    assert isinstance(head, MaskProposalHead)
    proposals = head.train()(feats)
    assert proposals.embeddings.shape == (2, 2, 5, 10)
    assert proposals.masks.shape == (2, 2, 5, 8, 12)
    states = head.decoder(feats.maps, None)
    expected = head.mask_embed(states[1, 0]) @ feats.mask_features[0].flatten(
        1
    )
    torch.testing.assert_close(
        proposals.masks[1, 0].flatten(1), expected, rtol=1e-4, atol=1e-5
    )
    assert head.eval()(feats).masks.shape == (1, 2, 5, 8, 12)


def test_decoders_can_ask_for_masks_at_the_size_of_a_map(feats):
    head = build().proposals
    asked = {}

    class Decoder(torch.nn.Module):
        def forward(self, maps, masks_of):
            states = torch.ones(2, 5, 16)
            asked['small'] = masks_of(states, (2, 3))
            asked['full'] = masks_of(states, (8, 12))
            return states[None]

    head.decoder = Decoder()
    proposals = head(feats)
    torch.testing.assert_close(asked['full'], proposals.masks[0])
    small = F.interpolate(proposals.masks[0], (2, 3), mode='bilinear')
    torch.testing.assert_close(asked['small'], small, rtol=1e-4, atol=1e-5)


def test_logits_are_scaled_cosines(feats, text):
    head = build().eval()
    logits = head(feats, text).class_logits[0, 1]
    embeddings = head.proposals(feats).embeddings[0, 1]
    every = torch.cat([text[:, 0], head.no_object_embedding])
    expected = 100 * F.cosine_similarity(
        embeddings[:, None], every[None], dim=2
    )
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert head.region_logits(embeddings, text).shape == (5, 4)


@pytest.mark.parametrize('none', [0, -1.0])
def test_weights_of_the_three_endings(none):
    torch.manual_seed(2)
    logits, region = torch.randn(5, 4), torch.randn(3, 3)
    valid = torch.tensor([True, False, True, True, False])
    p = logits.softmax(1)[:, :3]
    g = region.softmax(1)
    head = build(ensemble_weight=None)
    assert not head.uses_regions
    torch.testing.assert_close(head.class_weights(logits), p)
    head = build(ensemble_weight=none)
    weights = head.class_weights(logits, region, valid)
    torch.testing.assert_close(weights[valid], g)
    assert not weights[~valid].any()
    head = build(ensemble_weight=0.7)
    weights = head.class_weights(
        logits, region, valid, torch.tensor([True, True, False])
    )
    torch.testing.assert_close(
        weights[valid][:, 0], p[valid, 0] ** 0.7 * g[:, 0] ** 0.3
    )
    torch.testing.assert_close(
        weights[valid][:, 2], p[valid, 2] ** 0.3 * g[:, 2] ** 0.7
    )
    torch.testing.assert_close(weights[~valid][:, 2], p[~valid, 2] ** 0.3)


def test_loss_reaches_every_parameter(feats, text):
    head = build().train()
    labels = torch.randint(0, 4, (2, 32, 48))
    losses = head.loss(feats, text, labels)
    assert len(losses) == 6
    sum(losses.values()).backward()
    idle = [n for n, p in head.named_parameters() if p.grad is None]
    assert idle == []


def test_bad_options(feats):
    with pytest.raises(ValueError, match='=1.5 of ZSSegHead must be at most'):
        build(ensemble_weight=1.5)
    with pytest.raises(ValueError, match='average_templates=True'):
        build()(feats, torch.randn(4, 3, 10))


def test_pixel_head(feats, text):
    torch.manual_seed(0)
    head = PixelTextHead(
        dict(type='CrossEntropyLoss', avg_non_ignore=True), 6, 10
    )
    scores = head(feats, text)
    pixels = head.projection(feats.mask_features)
    cosines = F.cosine_similarity(
        pixels[:, None], text[None, :, 0, :, None, None], dim=2
    )
    torch.testing.assert_close(
        scores, cosines * pixels.norm(dim=1)[:, None], rtol=1e-4, atol=1e-5
    )
    labels = torch.randint(0, 4, (2, 32, 48))
    labels[0, :7] = 255
    losses = head.loss(feats, text, labels)
    large = F.interpolate(100 * cosines, (32, 48), mode='bilinear')
    expected = F.cross_entropy(large, labels, ignore_index=255)
    torch.testing.assert_close(losses['loss_ce'], expected)
