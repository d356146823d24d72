# SPDX-License-Identifier: Apache-2.0
from .masked_crop_classifier import MaskedCropClassifier

__all__ = ['MaskedCropClassifier']
