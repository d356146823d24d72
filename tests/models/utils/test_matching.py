# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
import torch
import torch.nn.functional as F

from ovseg_mm.models.utils import (
    HungarianMatcher,
    dice_losses,
    mask_targets,
    pixel_costs,
)


def test_targets_are_the_classes_present():
    labels = torch.tensor([[7, 255, 2], [2, 7, 7]])
    found, masks = mask_targets(labels, 255)
    assert found.tolist() == [2, 7]
    assert masks.tolist() == [
        [[False, False, True], [True, False, False]],
        [[True, False, False], [False, True, True]],
    ]


def test_no_target():
    found, masks = mask_targets(torch.full((4, 5), 255), 255)
    assert found.shape == (0,) and masks.shape == (0, 4, 5)


def test_pixel_costs_are_known_losses():
    torch.manual_seed(0)
    logits = torch.randn(3, 50) * 4
    target = (torch.rand(3, 50) > 0.5).float()
    inside, outside = pixel_costs(logits, 'bce')
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    torch.testing.assert_close(target * inside + (1 - target) * outside, bce)
    inside, outside = pixel_costs(logits, 'focal')
    right = torch.where(target == 1, logits.sigmoid(), 1 - logits.sigmoid())
    share = torch.where(target == 1, 0.25, 0.75)
    torch.testing.assert_close(
        target * inside + (1 - target) * outside,
        share * (1 - right) ** 2 * bce,
    )


def test_dice():
    probs = torch.tensor([[1.0, 0.0, 0.5, 0.0]])
    target = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    assert dice_losses(probs, target).item() == pytest.approx(1 - 3 / 4.5)
    assert dice_losses(target, target).item() == 0


@pytest.fixture
def problem():
    torch.manual_seed(1)
    labels = torch.randint(0, 4, (16, 24))
    labels[:3] = 255
    return torch.randn(7, 6), torch.randn(7, 8, 12), mask_targets(labels, 255)


@pytest.mark.parametrize('kind', ['focal', 'bce'])
def test_costs_of_pairs_one_by_one(kind, problem):
    class_logits, mask_logits, targets = problem
    matcher = HungarianMatcher(2.0, 5.0, 3.0, kind)
    costs = matcher.costs(class_logits, mask_logits, targets, torch.rand)
    masks = targets.masks[:, ::2, ::2].flatten(1).float()
    for query, n in itertools.product(range(7), range(4)):
        logits, mask = mask_logits[query].flatten(), masks[n]
        inside, outside = pixel_costs(logits, kind)
        expected = (
            -2.0 * class_logits[query].softmax(0)[targets.labels[n]]
            + 5.0 * torch.where(mask == 1, inside, outside).mean()
            + 3.0 * dice_losses(logits.sigmoid()[None], mask[None])[0]
        )
        torch.testing.assert_close(costs[query, n], expected)


def test_assignment_is_the_cheapest(problem):
    matcher = HungarianMatcher(1.0, 20.0, 1.0, 'focal')
    costs = matcher.costs(*problem, torch.rand)
    queries, found = matcher(*problem, torch.rand)
    assert queries.tolist() == sorted(queries.tolist())
    assert sorted(found.tolist()) == [0, 1, 2, 3]
    cheapest = min(
        sum(float(costs[q, n]) for n, q in enumerate(choice))
        for choice in itertools.permutations(range(7), 4)
    )
    assert float(costs[queries, found].sum()) == pytest.approx(cheapest)


def test_points_stand_for_pixels(problem):
    class_logits, mask_logits, targets = problem
    rows = (torch.arange(16) + 0.5) / 16
    columns = (torch.arange(24) + 0.5) / 24
    y, x = torch.meshgrid(rows, columns, indexing='ij')
    every_pixel = torch.stack([x, y], dim=2).flatten(0, 1)[None]
    by_points = HungarianMatcher(1.0, 5.0, 5.0, 'bce', num_points=16 * 24)
    costs = by_points.costs(
        class_logits,
        F.interpolate(mask_logits[None], scale_factor=2)[0],
        targets,
        lambda shape: every_pixel,
    )
    large = F.interpolate(mask_logits[None], scale_factor=2)[0]
    dense = HungarianMatcher(1.0, 5.0, 5.0, 'bce')
    expected = dense.costs(class_logits, large, targets, torch.rand)
    torch.testing.assert_close(costs, expected, rtol=1e-4, atol=1e-4)


def test_more_targets_than_queries_and_none(problem):
    class_logits, mask_logits, targets = problem
    matcher = HungarianMatcher(1.0, 20.0, 1.0, 'focal')
    queries, found = matcher(
        class_logits[:2], mask_logits[:2], targets, torch.rand
    )
    assert len(queries) == len(found) == 2
    nothing = mask_targets(torch.full((16, 24), 255), 255)
    queries, found = matcher(class_logits, mask_logits, nothing, torch.rand)
    assert len(queries) == len(found) == 0


@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf])
def test_queries_that_are_not_finite_are_matched_first(problem, value):
    """So that the loss is not finite either, and the run ends by it."""
    class_logits, mask_logits, targets = problem
    matcher = HungarianMatcher(1.0, 20.0, 1.0, 'focal')
    mask_logits[5, 2, 3] = value
    queries, found = matcher(class_logits, mask_logits, targets, torch.rand)
    assert 5 in queries and len(queries) == len(targets.labels)
    queries, _ = matcher(
        class_logits * value, mask_logits, targets, torch.rand
    )
    assert len(queries) == len(targets.labels)
