# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.models import DenseDiceLoss


def naive(logits, labels):
    """Class by class of each image."""
    total, present = 0.0, 0
    for scores, label in zip(logits.double().sigmoid(), labels):
        for number, score in enumerate(scores):
            truth = (label == number).double()
            if not truth.any():
                continue
            present += 1
            hits = (score * truth).sum()
            total += 1 - (2 * hits + 1) / (score.sum() + truth.sum() + 1)
    return total / max(present, 1)


def test_formula():
    logits = (3 * torch.randn(2, 4, 5, 6)).requires_grad_()
    labels = torch.randint(0, 3, (2, 5, 6))
    labels[0, :2] = 255
    loss = DenseDiceLoss(loss_weight=2.0)(logits, labels)
    expected = 2 * naive(logits, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    (ours,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def test_many_pixels_that_are_nearly_right():
    logits = torch.full((1, 2, 512, 512), -8.0)
    logits[:, 0] = 8.0
    labels = torch.zeros(1, 512, 512, dtype=torch.long)
    loss = DenseDiceLoss()(logits, labels)
    assert loss.item() == pytest.approx(naive(logits, labels).item(), rel=0.01)


def test_all_ignored():
    logits = torch.randn(1, 3, 4, 4)
    assert DenseDiceLoss()(logits, torch.full((1, 4, 4), 255)) == 0
