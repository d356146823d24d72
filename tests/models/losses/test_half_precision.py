# SPDX-License-Identifier: Apache-2.0
"""Losses of half-precision logits are those of the same numbers in float32."""

import pytest
import torch

from ovseg_mm.models import (
    DenseBCELoss,
    DenseDiceLoss,
    DenseFocalLoss,
    MaskSetLoss,
)
from ovseg_mm.models.utils import HungarianMatcher, mask_targets

HALF = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize('dtype', HALF)
@pytest.mark.parametrize('loss', [DenseBCELoss, DenseDiceLoss, DenseFocalLoss])
def test_dense_losses(loss, dtype):
    # A class over the whole of an image of 512x512, and wrong pixels.
    logits = torch.full((1, 2, 512, 512), -8.0)
    logits[:, 0] = 8.0
    logits[:, :, :64] = torch.randn(1, 2, 64, 512)
    logits = logits.to(dtype).requires_grad_()
    labels = torch.zeros(1, 512, 512, dtype=torch.long)
    labels[:, 500:] = 255
    value = loss()(logits, labels)
    expected = loss()(logits.float(), labels)
    assert value.dtype == torch.float32
    assert torch.isfinite(value) and value > 0
    torch.testing.assert_close(value, expected)
    # Gradients of single pixels are small: scaled as in training.
    (grad,) = torch.autograd.grad(value * 2**16, logits)
    assert torch.isfinite(grad).all() and grad.any()


@pytest.fixture
def predictions():
    """Logits of 7 proposals, large ones, and targets of 512x512 pixels."""
    torch.manual_seed(0)
    class_logits = torch.randn(1, 1, 7, 6)
    mask_logits = 60 * torch.randn(1, 1, 7, 128, 128)
    labels = torch.randint(0, 5, (16, 16)).repeat_interleave(32, 0)
    labels = labels.repeat_interleave(32, 1)
    return class_logits, mask_logits, mask_targets(labels, 255)


@pytest.mark.parametrize('kind', ['focal', 'bce'])
def test_matching_under_autocast(predictions, kind):
    class_logits, mask_logits, target = predictions
    matcher = HungarianMatcher(1.0, 20.0, 1.0, kind)
    given = class_logits[0, 0], mask_logits[0, 0], target, torch.rand
    expected = matcher.costs(*given)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        costs = matcher.costs(*given)
    torch.testing.assert_close(costs, expected, rtol=0, atol=0)


@pytest.mark.parametrize('dtype', HALF)
@pytest.mark.parametrize('kind', ['focal', 'bce'])
def test_set_loss(predictions, kind, dtype):
    class_logits, mask_logits, target = predictions
    loss = MaskSetLoss(mask_loss=kind)
    given = class_logits.to(dtype), mask_logits.to(dtype)
    expected = loss(*(x.float() for x in given), [target])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = loss(*given, [target])
    for name, value in losses.items():
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        torch.testing.assert_close(value, expected[name])
