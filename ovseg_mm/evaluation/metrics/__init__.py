# SPDX-License-Identifier: Apache-2.0
from .crop_accuracy_metric import CropAccuracyMetric
from .open_vocab_iou_metric import OpenVocabIoUMetric

__all__ = ['CropAccuracyMetric', 'OpenVocabIoUMetric']
