# SPDX-License-Identifier: Apache-2.0
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from ovseg_mm.inference import Labelling
from ovseg_mm.inference.postprocess import CLASSES_AT_A_TIME

SIZE = 9, 13


def naive(scores, owner, num_labels, scale, least_prob, least_area, rest):
    """Labels and their probabilities, all texts at once, in float64."""
    scores = scores.double().numpy()
    exps = np.exp(scale * (scores - scores.max(axis=0)))
    probs = exps / exps.sum(axis=0)
    merged = np.zeros((num_labels, *scores.shape[1:]))
    for prob, label in zip(probs, owner):
        merged[label] = np.maximum(merged[label], prob)
    if least_area is not None:
        found = merged.argmax(axis=0)
        others = [c for c in range(num_labels) if c != rest]
        total = sum((found == c).sum() for c in others)
        for c in others:
            if (found == c).sum() <= least_area * total:
                merged[c] = 0
    labels = merged.argmax(axis=0)
    labels[merged.max(axis=0) < least_prob] = 255 if rest is None else rest
    return labels, merged


@pytest.mark.parametrize('background', [None, 0, 2])
@pytest.mark.parametrize('least_prob', [0.0, 0.3])
@pytest.mark.parametrize('least_area', [None, 0.1, 0.25])
@pytest.mark.parametrize('num_texts', [7, 3 * CLASSES_AT_A_TIME + 5])
def test_equals_all_texts_at_once(
    num_texts, least_area, least_prob, background
):
    torch.manual_seed(num_texts)
    scores = torch.randn(num_texts, *SIZE) * 0.1
    scores[:6] += 0.3
    owner = torch.arange(num_texts) // 2
    num_labels = int(owner.max()) + 1
    rules = Labelling(
        owner.tolist(),
        num_labels,
        scale=20.0,
        least_prob=least_prob,
        least_area=least_area,
        background=background,
    )
    labels, merged = naive(
        scores, owner, num_labels, 20.0, least_prob, least_area, background
    )
    ours = rules.labels(lambda texts: scores[texts])
    np.testing.assert_array_equal(ours, labels)
    probabilities = rules.probabilities(scores)
    np.testing.assert_allclose(probabilities, merged, atol=1e-6)
    np.testing.assert_array_equal(rules.labels_of(probabilities), labels)
    assert len(np.unique(labels)) > 1


def test_the_first_of_equal_texts_wins():
    scores = torch.zeros(4, 2, 2)
    rules = Labelling([0, 1, 1, 2], 3, scale=10.0)
    assert (rules.labels(lambda texts: scores[texts]) == 0).all()


def test_synonyms_do_not_add_up():
    scores = torch.tensor([0.0, 0.0, 0.1]).view(3, 1, 1)
    rules = Labelling([0, 0, 1], 2, scale=1.0)
    probabilities = rules.probabilities(scores)
    assert probabilities[0] < probabilities[1] < 0.5
    assert rules.labels(lambda texts: scores[texts]) == 1


def test_the_area_rule_is_strict_and_among_foreground():
    best = torch.tensor([[0] * 90 + [1] * 9 + [2] * 1])
    scores = torch.nn.functional.one_hot(best, 3).permute(2, 0, 1).float()
    scores[0] += 0.1
    for share, counts in ((0.09, [90, 9, 1]), (0.1, [91, 9, 0])):
        rules = Labelling(
            range(3), 3, scale=9.0, least_area=share, background=0
        )
        found = rules.labels(lambda texts: scores[texts])
        assert found.flatten().bincount(minlength=3).tolist() == counts


def test_a_label_that_wins_nowhere_inherits_nothing():
    # Label 2 is small; label 3 comes second there, but wins nowhere.
    scores = torch.full((4, 1, 10), -1.0)
    scores[1, 0, :9] = 1.0
    scores[2, 0, 9], scores[3, 0, 9] = 1.0, 0.9
    scores[0, 0, 9] = 0.5
    rules = Labelling(range(4), 4, scale=5.0, least_area=0.2, background=0)
    found = rules.labels(lambda texts: scores[texts])
    assert found.tolist() == [[1] * 9 + [0]]


def test_texts_of_no_label_leave_pixels_unlabelled():
    scores = torch.tensor([[0.9, 0.1, 0.2], [0.2, 0.4, 0.1]])[:, None]
    rules = Labelling([0, 255], 1, scale=10.0)
    found = rules.labels(lambda texts: scores[texts])
    assert found.tolist() == [[0, 255, 0]]
    probabilities = rules.probabilities(scores)
    assert probabilities.shape == (1, 1, 3)
    expected = (10 * scores).softmax(dim=0)[:1]
    torch.testing.assert_close(probabilities, expected)
    assert rules.labels_of(probabilities).tolist() == [[0, 255, 0]]


def test_large_scores_do_not_overflow():
    scores = torch.tensor([30.0, 29.0]).view(2, 1, 1).half()
    rules = Labelling(range(2), 2, scale=100.0, least_prob=0.9)
    assert rules.labels(lambda texts: scores[texts]) == 0
    assert rules.probabilities(scores).isfinite().all()


def test_scores_without_a_scale_are_compared():
    scores = torch.tensor([[0.2, -0.2]])[:, None]
    rules = Labelling([0], 1, threshold=0.0)
    assert rules.labels(lambda texts: scores[texts]).tolist() == [[0, 255]]
    assert torch.equal(rules.probabilities(scores), scores)
    assert rules.labels_of(scores).tolist() == [[0, 255]]


@pytest.mark.parametrize('scale', [None, 20.0])
@pytest.mark.parametrize('least_area', [None, 0.1])
@pytest.mark.parametrize('shuffled', [False, True])
def test_best_labels_are_those_of_all_scores(scale, least_area, shuffled):
    if least_area and not scale:
        return
    torch.manual_seed(0)
    num_texts = 2 * CLASSES_AT_A_TIME + 9
    scores = torch.randn(num_texts, *SIZE) * 0.1
    owner = torch.arange(num_texts) // 3
    if shuffled:  # texts of a label in several parts
        owner = owner[torch.randperm(num_texts)]
    num_labels = int(owner.max()) + 1
    # The last texts are of other things.
    owner = [*owner.tolist(), 255, 255]
    scores = torch.cat([scores, torch.randn(2, *SIZE) * 0.1])
    rules = Labelling(owner, num_labels, scale=scale, least_area=least_area)
    every = rules.probabilities(scores)
    for count in (1, 4, num_labels + 3):
        scores_of = Mock(side_effect=scores.__getitem__)
        label_map, best, labels = rules.labels_and_top(scores_of, count)
        assert torch.equal(label_map, rules.labels(scores.__getitem__))
        if not least_area:  # each score is computed once
            slices = [call.args[0] for call in scores_of.call_args_list]
            everyone = range(len(scores))
            asked = [index for part in slices for index in everyone[part]]
            assert asked == list(everyone)
        expected, order = every.sort(dim=0, descending=True, stable=True)
        torch.testing.assert_close(best, expected[:count])
        dropped = expected[:count] == 0  # any order
        assert torch.equal(labels[~dropped], order[:count][~dropped])


def test_pixels_below_a_threshold_get_the_background():
    scores = torch.tensor([[[0.2, 0.9, 0.4]], [[0.1, 0.95, 0.7]]])
    for background, rest in ((None, 255), (0, 0)):
        rules = Labelling([0, 1], 2, threshold=0.5, background=background)
        for labels in (
            rules.labels(lambda texts: scores[texts]),
            rules.labels_of(scores.clone()),
        ):
            assert labels.tolist() == [[rest, 1, 1]]
