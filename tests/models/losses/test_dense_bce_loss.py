# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from ovseg_mm.models import DenseBCELoss


def naive(logits, labels, ignore_index):
    """The mean over all elements, one by one; ignored pixels are negatives."""
    total, count = 0.0, 0
    for image, label in zip(logits.tolist(), labels.tolist()):
        for number, rows in enumerate(image):
            for row, label_row in zip(rows, label):
                for x, y in zip(row, label_row):
                    positive = y == number and y != ignore_index
                    probability = 1 / (1 + math.exp(-x))
                    chosen = probability if positive else 1 - probability
                    total -= math.log(chosen)
                    count += 1
    return total / count


@pytest.mark.parametrize('ignore_index', [255, 65535, 3])
def test_mean_over_all_elements(ignore_index):
    logits = 3 * torch.randn(2, 4, 5, 6)
    labels = torch.randint(0, 4, (2, 5, 6))
    labels[0, :2] = ignore_index
    labels[1, 0, 0] = ignore_index
    loss = DenseBCELoss()(logits, labels, ignore_index)
    expected = naive(logits, labels, ignore_index)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_all_ignored():
    logits, labels = torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), 255)
    loss = DenseBCELoss(loss_weight=0.5)(logits, labels)
    expected = 0.5 * naive(logits, labels, 255)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_gradient():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    labels = torch.randint(0, 3, (2, 4, 4))
    labels[:, 1] = 255
    (gradient,) = torch.autograd.grad(DenseBCELoss()(logits, labels), logits)
    target = torch.stack([(labels == c).float() for c in range(3)], dim=1)
    expected = (logits.sigmoid() - target) / logits.numel()
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_confident_logits_of_half_precision(dtype):
    """Large sums cancel here: they must not be rounded to the input type."""
    labels = torch.randint(0, 8, (1, 32, 32))
    target = torch.stack([labels == c for c in range(8)], dim=1)
    logits = torch.where(target, 6.0, -6.0).to(dtype)
    loss = DenseBCELoss()(logits, labels)
    assert loss.item() == pytest.approx(math.log1p(math.exp(-6)), rel=1e-3)
