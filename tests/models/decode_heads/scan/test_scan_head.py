# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F

from ovseg_mm.models import SCANHead
from ovseg_mm.structures import ImageContext, PixelFeatures

INTEGRATION = dict(
    in_channels=12,
    embed_dims=16,
    blocks=(0,),
    sigmas=(2,),
    num_heads=4,
    num_fusion_layers=1,
    num_encoder_layers=1,
    feedforward_dims=20,
)


def build(**options) -> SCANHead:
    torch.manual_seed(0)
    head = SCANHead(
        proposals=dict(
            type='MaskProposalHead',
            mask_channels=6,
            embedding_channels=16,
            hidden_channels=12,
            decoder=dict(
                type='MaskedAttentionDecoder',
                num_queries=5,
                embed_dims=16,
                num_heads=4,
                num_layers=3,
                num_levels=1,
                feedforward_dims=16,
                skip_penultimate=True,
            ),
        ),
        loss_decode=dict(type='MaskSetLoss', mask_loss='bce', num_points=40),
        text_channels=16,
        **options,
    )
    return head.eval()


@pytest.fixture
def feats():
    torch.manual_seed(1)
    context = ImageContext(torch.randn(2, 16), {0: torch.randn(2, 17, 12)})
    return PixelFeatures(
        torch.randn(2, 6, 8, 12), (torch.randn(2, 16, 2, 3),), context
    )


@pytest.fixture
def text():
    return F.normalize(torch.randn(4, 1, 16), dim=2)


def test_predictions(feats, text):
    head = build(integration=INTEGRATION)
    assert head.context_blocks == (0,)
    logits, masks = head(feats, text)
    assert logits.shape == (1, 2, 5, 5) and masks.shape == (1, 2, 5, 8, 12)
    logits, masks = head.train()(feats, text)
    assert len(logits) == len(masks) == 3


def test_without_integration_the_context_is_not_needed(feats, text):
    head = build()
    assert head.context_blocks == ()
    with_context = head(feats, text).class_logits
    without = head(feats._replace(context=None), text).class_logits
    assert torch.equal(with_context, without)


def test_all_states_but_one_have_losses(feats, text):
    head = build(integration=INTEGRATION).train()
    labels = torch.randint(0, 4, (2, 32, 48))
    losses = head.loss(feats, text, labels)
    assert losses.keys() == {
        f'loss_{kind}{state}'
        for kind in ('ce', 'mask', 'dice')
        for state in ('', '_0', '_1')
    }
    sum(losses.values()).backward()
    missing = [n for n, p in head.named_parameters() if p.grad is None]
    assert missing == []


def test_an_image_without_any_label_has_losses(feats, text):
    head = build(integration=INTEGRATION).train()
    labels = torch.full((2, 32, 48), 255)
    losses = head.loss(feats, text, labels)
    assert all(loss.isfinite() for loss in losses.values())


@pytest.fixture
def logits():
    torch.manual_seed(2)
    return torch.randn(5, 4), torch.randn(3, 3)


VALID = torch.tensor([True, False, True, True, False])


def test_votes_by_the_formula(logits):
    classes, regions = logits
    votes = build(ensemble_weight=0.7).class_weights(*logits, VALID)
    probs = classes.softmax(1)[:, :3]
    ones = torch.ones(5, 3)
    ones[VALID] = regions.softmax(1)
    torch.testing.assert_close(votes, probs**0.3 * ones**0.7)


def test_seen_classes_are_not_treated_apart(logits):
    head = build(ensemble_weight=0.7)
    seen = torch.tensor([True, False, False])
    assert torch.equal(
        head.class_weights(*logits, VALID, seen),
        head.class_weights(*logits, VALID),
    )


def test_votes_with_no_object(logits):
    plain = build(ensemble_weight=0.7).class_weights(*logits, VALID)
    head = build(ensemble_weight=0.7, keep_no_object=True)
    votes = head.class_weights(*logits, VALID)
    void = logits[0].softmax(1)[:, 3:]
    shares = plain.log().softmax(dim=1)
    expected = torch.cat([shares * (1 - void), void], dim=1).log()
    torch.testing.assert_close(votes, expected.softmax(1)[:, :3])


@pytest.mark.parametrize('weight', [0.7, 0.0])
@pytest.mark.parametrize('keep', [True, False])
def test_without_any_region_proposals_decide(logits, weight, keep):
    head = build(ensemble_weight=weight, keep_no_object=keep)
    votes = head.class_weights(logits[0], logits[1][:0], VALID & False)
    torch.testing.assert_close(votes, logits[0].softmax(1)[:, :3])


@pytest.mark.parametrize('none', [0.0, -1.0])
def test_regions_alone(logits, none):
    head = build(ensemble_weight=none, keep_no_object=True)
    votes = head.class_weights(*logits, VALID)
    torch.testing.assert_close(votes[VALID], logits[1].softmax(1))
    assert not votes[~VALID].any()
