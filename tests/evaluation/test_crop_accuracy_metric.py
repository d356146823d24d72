# SPDX-License-Identifier: Apache-2.0
import pytest

from ovseg_mm.evaluation.metrics import CropAccuracyMetric


def test_both_means():
    metric = CropAccuracyMetric()
    truth, found = [0, 0, 0, 2], [0, 0, 1, 1]
    samples = [
        dict(crop_label=t, pred_crop_label=f) for t, f in zip(truth, found)
    ]
    metric.process({}, samples[:3])
    metric.process({}, samples[3:])
    assert metric.evaluate(4) == pytest.approx(
        dict(accuracy=50.0, class_accuracy=100 / 3)
    )
