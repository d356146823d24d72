# SPDX-License-Identifier: Apache-2.0
import time

import pytest
import torch
from mmengine.structures import PixelData
from torch import nn

from ovseg_mm.engine.speed import Speed, measure_speed


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
    speed = measure_speed(model, (8, 12), 3, batches=4, warm_up=2, amp=amp)
    assert model.calls == [amp] * 6 and model.prepared == 1
    assert len(speed.seconds) == 4 and speed.batch_size == 3
    assert 0.015 <= speed.median < 0.1
    assert speed.peak_memory > 1e6


def test_spread():
    speed = Speed([1.0, 2.0, 3.0, 4.0, 10.0], 1, 0)
    assert speed.median == 3
    assert speed.quantile(0) == 1 and speed.quantile(1) == 10
