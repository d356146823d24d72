# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.models import DenseFocalLoss


def naive(logits, labels, alpha, gamma):
    """From a one-hot target in double precision."""
    logits = logits.double()
    target = torch.stack(
        [(labels == c).double() for c in range(logits.shape[1])], dim=1
    )
    p = logits.sigmoid()
    p_t = p * target + (1 - p) * (1 - target)
    a_t = alpha * target + (1 - alpha) * (1 - target)
    terms = a_t * (1 - p_t) ** gamma * -p_t.log()
    present = max(1, int(target.flatten(2).any(dim=2).sum()))
    return terms.mean(dim=(2, 3)).sum() / present


@pytest.mark.parametrize(('alpha', 'gamma'), [(0.25, 2.0), (0.6, 1.0)])
def test_formula(alpha, gamma):
    logits = 3 * torch.randn(2, 4, 5, 6, requires_grad=True)
    labels = torch.randint(0, 3, (2, 5, 6))
    labels[0, :2] = 255
    loss = DenseFocalLoss(alpha, gamma, loss_weight=7.0)(logits, labels)
    expected = 7 * naive(logits, labels, alpha, gamma)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    (ours,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (theirs,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def test_ignored_pixels_are_negatives_of_every_class():
    labels = torch.full((1, 4, 4), 255)
    logits = torch.randn(1, 3, 4, 4)
    loss = DenseFocalLoss()(logits, labels)
    expected = naive(logits, labels, 0.25, 2.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert DenseFocalLoss()(logits + 1, labels) > loss


def test_large_logits():
    logits = torch.tensor([[[[200.0]], [[-200.0]]]], requires_grad=True)
    loss = DenseFocalLoss()(logits, torch.tensor([[[1]]]))
    loss.backward()
    assert loss.item() == pytest.approx(0.25 * 200 + 0.75 * 200)
    assert logits.grad.isfinite().all()
