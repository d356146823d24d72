# SPDX-License-Identifier: Apache-2.0
from .open_vocab_iou_metric import OpenVocabIoUMetric

__all__ = ['OpenVocabIoUMetric']
