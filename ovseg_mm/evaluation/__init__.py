# SPDX-License-Identifier: Apache-2.0
"""Evaluation of label maps."""

from .metrics import OpenVocabIoUMetric

__all__ = ['OpenVocabIoUMetric']
