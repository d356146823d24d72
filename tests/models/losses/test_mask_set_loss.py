# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F

from ovseg_mm.models import MaskSetLoss
from ovseg_mm.models.utils import mask_targets, pixel_costs


@pytest.fixture
def batch():
    """Predictions of three states, two images of 24x32, 5 classes."""
    torch.manual_seed(0)
    labels = torch.randint(0, 5, (2, 24, 32))
    labels[1][labels[1] > 2] = 255
    class_logits = torch.randn(3, 2, 9, 6, requires_grad=True)
    mask_logits = torch.randn(3, 2, 9, 6, 8, requires_grad=True)
    return class_logits, mask_logits, [mask_targets(x, 255) for x in labels]


def test_losses_from_their_definition(batch):
    class_logits, mask_logits, targets = batch
    loss = MaskSetLoss(2.0, 20.0, 3.0, 0.1)
    losses = loss(*batch)
    expected_names = {
        f'loss_{part}{suffix}'
        for part in ('ce', 'mask', 'dice')
        for suffix in ('', '_0', '_1')
    }
    assert set(losses) == expected_names
    for state, suffix in ((2, ''), (0, '_0'), (1, '_1')):
        nll, weights, mask_loss, dice_loss = 0.0, 0.0, 0.0, 0.0
        for image, target in enumerate(targets):
            logits = class_logits[state, image]
            masks = mask_logits[state, image]
            queries, found = loss.matcher(logits, masks, target, torch.rand)
            wanted = dict(zip(queries.tolist(), found.tolist()))
            for query in range(9):
                label, weight = 5, 0.1
                if query in wanted:
                    label, weight = target.labels[wanted[query]], 1.0
                nll -= weight * logits[query].log_softmax(0)[label]
                weights += weight
            for query, number in wanted.items():
                large = F.interpolate(
                    masks[query][None, None], (24, 32), mode='bilinear'
                )[0, 0]
                mask = target.masks[number].float()
                inside, outside = pixel_costs(large, 'focal')
                mask_loss += torch.where(mask == 1, inside, outside).mean()
                overlap = 2 * (large.sigmoid() * mask).sum() + 1
                total = large.sigmoid().sum() + mask.sum() + 1
                dice_loss += 1 - overlap / total
        for name, expected in (
            ('ce', 2.0 * nll / weights),
            ('mask', 20.0 * mask_loss / 8),
            ('dice', 3.0 * dice_loss / 8),
        ):
            actual = losses[f'loss_{name}{suffix}']
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_batch_without_targets(batch):
    class_logits, mask_logits, _ = batch
    nothing = mask_targets(torch.full((24, 32), 255), 255)
    for points in (None, 16):
        loss = MaskSetLoss(num_points=points)
        losses = loss(class_logits, mask_logits, [nothing, nothing])
        assert losses['loss_mask'] == 0 and losses['loss_dice'] == 0
        assert losses['loss_ce'] > 0
        sum(losses.values()).backward()
        assert mask_logits.grad is not None and not mask_logits.grad.any()


def test_points_repeat_with_their_draws(batch):
    loss = MaskSetLoss(mask_loss='bce', num_points=16)

    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        loss.rand = lambda shape: torch.rand(shape, generator=generator)
        return loss(*batch)

    first, again, other = run(0), run(0), run(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first['loss_mask'] != other['loss_mask']


def test_order_of_draws(batch):
    shapes = []

    def draw(shape):
        shapes.append(tuple(shape))
        return torch.rand(shape)

    loss = MaskSetLoss(mask_loss='bce', num_points=16)
    loss.rand = draw
    loss(*batch)
    one_state = [(1, 16, 2), (1, 16, 2), (8, 48, 2), (8, 4, 2)]
    assert shapes == one_state * 3


def test_unknown_kind():
    with pytest.raises(ValueError, match="'l2' must be 'focal' or 'bce'"):
        MaskSetLoss(mask_loss='l2')
