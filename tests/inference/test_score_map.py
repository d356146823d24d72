# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F

from ovseg_mm.inference import (
    PixelRefiner,
    ScoreMap,
    argmax_labels,
    postprocess,
    sliding_views,
    view_logits,
)
from ovseg_mm.inference import score_map as score_map_module
from ovseg_mm.structures import MaskVotes, ViewLayout

from ..memory import peak_memory

LAYOUT = ViewLayout((6, 8))


def score_map(logits, **options) -> ScoreMap:
    options = dict(dict(size=(12, 16), activate=torch.sigmoid), **options)
    refiner = PixelRefiner(torch.rand(3, *options['size']), steps=0)
    return ScoreMap(logits, LAYOUT, refiner=refiner, **options)


def expected(logits, size=(12, 16)):
    return F.interpolate(logits.sigmoid(), size, mode='bilinear')[0]


@pytest.fixture
def logits():
    return torch.randn(1, 5, 3, 4)


def test_scores_are_activated_then_resized(logits):
    torch.testing.assert_close(score_map(logits).of(), expected(logits))


def test_a_part_of_the_classes_is_a_part_of_all(logits):
    scores = score_map(logits)
    for classes in (slice(0, 2), slice(3, 5), slice(4, 9)):
        assert torch.equal(scores.of(classes), scores.of()[classes])


def test_the_logits_are_not_overwritten(logits):
    before = logits.clone()
    scores = score_map(logits, activate=torch.sigmoid_)
    assert torch.equal(scores.of(), scores.of())
    assert torch.equal(logits, before)


def test_seen_texts_pay_the_penalty(logits):
    seen = torch.tensor([True, False, True, True, False])
    scores = score_map(logits, seen=seen, penalty=0.25)
    wanted = expected(logits) - 0.25 * seen[:, None, None]
    torch.testing.assert_close(scores.of(), wanted)
    torch.testing.assert_close(scores.of(slice(1, 3)), wanted[1:3])


@pytest.mark.parametrize(
    ('flip', 'axes'),
    [('horizontal', (2,)), ('vertical', (1,)), ('diagonal', (1, 2))],
)
def test_flips_are_undone(logits, flip, axes):
    wanted = expected(logits).flip(axes)
    torch.testing.assert_close(score_map(logits, flip=flip).of(), wanted)


def test_refinement_comes_last(logits):
    size = (12, 16)
    refiner = PixelRefiner(torch.rand(3, *size), steps=2, dilations=(1,))
    scores = ScoreMap(logits, LAYOUT, size, torch.sigmoid, refiner)
    torch.testing.assert_close(scores.of(), refiner(expected(logits)))


def test_votes_are_joined_for_the_classes_asked_for():
    weights, masks = torch.rand(2, 3, 5), torch.rand(2, 3, 4, 6)
    votes = MaskVotes(weights, masks, weights, weights)
    found = view_logits(votes, slice(1, 3))
    wanted = torch.einsum('vqt,vqhw->vthw', weights[:, :, 1:3], masks)
    torch.testing.assert_close(found, wanted)


def test_votes_of_a_block_of_classes_are_joined_once(monkeypatch):
    monkeypatch.setattr(postprocess, 'CLASSES_AT_A_TIME', 4)
    weights, masks = torch.rand(1, 3, 10), torch.rand(1, 3, 4, 6)
    votes = MaskVotes(weights, masks, weights, weights)
    wanted = score_map(votes).of()
    joined = []
    inner = score_map_module.join_votes

    def spy(weights, masks):
        joined.append(weights.shape[2])
        return inner(weights, masks)

    monkeypatch.setattr(score_map_module, 'join_votes', spy)
    scores = score_map(votes)
    found = torch.cat([scores.of(slice(i, i + 1)) for i in range(10)])
    torch.testing.assert_close(found, wanted)
    assert joined == [4, 4, 2]


@pytest.mark.parametrize('mode', ['canvas', 'image', 'whole'])
def test_memory_does_not_depend_on_the_number_of_words(mode):
    size = 1200, 1000  # above the scores that are held at a time
    if mode == 'whole':
        layout, views = ViewLayout(size), 1
    else:
        canvas = (64, 64) if mode == 'canvas' else None
        window = (48, 48) if mode == 'canvas' else (700, 700)
        parts, layout = sliding_views(
            torch.zeros(3, *size), window, window, canvas, True
        )
        views = len(parts)
    peaks = []
    for num_texts in (4, 40):
        scores = ScoreMap(
            torch.randn(views, num_texts, 6, 5),
            layout,
            size,
            torch.sigmoid_,
            PixelRefiner(torch.zeros(3, 1, 1), steps=0),
            'input' if mode == 'whole' else None,
        )
        found = []
        peaks.append(
            peak_memory(
                lambda scores=scores, found=found, n=num_texts: found.append(
                    argmax_labels(scores.of, torch.arange(n))
                )
            )
        )
        assert torch.equal(found[0], scores.of().argmax(dim=0))
    plane = 4 * size[0] * size[1]
    assert peaks[1] == pytest.approx(peaks[0], abs=0.01 * plane)
    # Labels, best scores and a mask take 3.25 planes of them.
    assert max(peaks) < 8 * plane
