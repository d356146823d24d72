# SPDX-License-Identifier: Apache-2.0
import torch

from ovseg_mm.inference import (
    contenders,
    fuse_views,
    geometric_ensemble,
    penalise_seen,
    region_weights,
    whole_view,
    with_no_object,
)

P = torch.tensor([[0.5, 0.2], [0.1, 0.8], [0.3, 0.3]])
G = torch.tensor([[0.9, 0.1], [0.25, 0.75]])
VALID = torch.tensor([True, False, True])


def test_seen_and_unseen_classes_are_weighed_the_other_way_round():
    weights = geometric_ensemble(P, G, VALID, 0.8, torch.tensor([True, False]))
    expected = torch.tensor(
        [
            [0.5**0.8 * 0.9**0.2, 0.2**0.2 * 0.1**0.8],
            [0.1**0.8, 0.8**0.2],  # no region: g is 1
            [0.3**0.8 * 0.25**0.2, 0.3**0.2 * 0.75**0.8],
        ]
    )
    torch.testing.assert_close(weights, expected)


def test_without_flags_all_classes_are_unseen():
    none = geometric_ensemble(P, G, VALID, 0.7)
    unseen = geometric_ensemble(P, G, VALID, 0.7, torch.tensor([False] * 2))
    torch.testing.assert_close(none, unseen)
    seen = geometric_ensemble(P, G, VALID, 0.7, torch.tensor([True] * 2))
    assert not torch.allclose(none, seen)


def test_inputs_are_left_as_they_are():
    p, g = P.clone(), G.clone()
    geometric_ensemble(p, g, VALID, 0.7)
    region_weights(g, VALID)
    assert torch.equal(p, P) and torch.equal(g, G)


def test_no_region_at_all():
    nowhere = torch.zeros(3, dtype=torch.bool)
    weights = geometric_ensemble(P, G[:0], nowhere, 0.6)
    torch.testing.assert_close(weights, P**0.4)
    assert not region_weights(G[:0], nowhere).any()


def test_regions_alone():
    weights = region_weights(G, VALID)
    assert torch.equal(weights[VALID], G)
    assert not weights[1].any()


def test_seen_classes_lose_the_penalty():
    scores = torch.rand(3, 4, 5)
    expected = scores.clone()
    expected[[0, 2]] -= 0.1
    out = penalise_seen(scores, torch.tensor([True, False, True]), 0.1)
    torch.testing.assert_close(out, expected)
    assert out is scores


def test_scores_of_a_size_of_their_own():
    logits = torch.randn(1, 3, 4, 4)
    _, layout = whole_view(torch.zeros(3, 20, 28))
    kept = logits.clone()
    scores = fuse_views(logits, layout, torch.Tensor.sigmoid_, (16, 16))
    up = torch.nn.Upsample(size=(16, 16), mode='bilinear')(kept).sigmoid()
    expected = torch.nn.Upsample(size=(20, 28), mode='bilinear')(up)
    torch.testing.assert_close(scores, expected[0])
    torch.testing.assert_close(logits, kept, msg='logits are left alone')


def test_no_object_has_its_share():
    weights = torch.tensor([[0.2, 0.1, 0.1], [1e-30, 0.0, 0.0]])
    no_object = torch.tensor([0.6, 0.0])
    found = with_no_object(weights, no_object)
    torch.testing.assert_close(found[0], torch.tensor([0.2, 0.1, 0.1]))
    torch.testing.assert_close(found[1], torch.tensor([1.0, 0.0, 0.0]))
    # A row of zeros has no shares to give.
    assert with_no_object(torch.zeros(1, 3), torch.ones(1)).isfinite().all()


def test_contenders_come_close_to_the_strongest_vote_somewhere():
    strengths = torch.tensor([0.8, 0.4, 0.5])
    masks = torch.tensor([[[0.9, 0.9]], [[0.1, 1.0]], [[0.2, 0.2]]])
    found = [
        contenders(strengths, masks, share).tolist()
        for share in (0, 0.5, 0.6, 1)
    ]
    assert found == [
        [True, True, True],
        [True, True, False],
        [True, False, False],
        [True, False, False],
    ]
