# SPDX-License-Identifier: Apache-2.0
import time

import pytest
import torch
from mmengine.structures import PixelData
from torch import nn

from ovseg_mm.analysis.speed import (
    Speed,
    fit_counts,
    measure_speed,
    random_batches,
)


class Sleeper(nn.Module):
    """Takes 5 ms an image, the first two batches ten times as long."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.calls = []
        self.prepared = 0

    def prepare_text(self):
        self.prepared += 1

    def test_step(self, batch):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        self.calls.append(product.dtype == torch.bfloat16)
        pause = 0.005 * len(batch['inputs'])
        time.sleep(pause * (10 if len(self.calls) <= 2 else 1))
        for img, sample in zip(batch['inputs'], batch['data_samples']):
            assert img.dtype == torch.uint8 and img.shape == (3, 8, 12)
            sample.pred_sem_seg = PixelData(
                data=torch.zeros(1, *sample.ori_shape)
            )
        return batch['data_samples']


@pytest.mark.parametrize('amp', [False, True])
def test_warm_up_does_not_count(amp):
    model = Sleeper()
    batches = random_batches((8, 12), 3, 6)
    speed = measure_speed(model, batches, warm_up=2, amp=amp)
    assert model.calls == [amp] * 6 and model.prepared == 1
    assert len(speed.seconds) == 4 and speed.batch_size == 3
    assert 0.015 <= speed.median < 0.1
    assert speed.peak_memory > 1e6


def test_spread():
    speed = Speed([1.0, 2.0, 3.0, 4.0, 10.0], 1, 0)
    assert speed.median == 3 and speed.mean == 4
    assert speed.quantile(0) == 1 and speed.quantile(1) == 10


@pytest.mark.parametrize(
    ('available', 'expected'),
    [
        (5000, (100, 900)),
        (1000, (100, 900)),
        (999, (99, 900)),
        (500, (50, 450)),
        (5, (1, 4)),
        (1, (0, 1)),
    ],
)
def test_numbers_of_a_small_test_set(available, expected):
    assert fit_counts(100, 900, available) == expected


def test_something_is_always_timed():
    assert fit_counts(900, 1, 20) == (19, 1)
    assert fit_counts(0, 100, 20) == (0, 20)
