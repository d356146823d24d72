# SPDX-License-Identifier: Apache-2.0
from .masked_crop_classifier import MaskedCropClassifier
from .shifted_clip import ShiftedCLIP

__all__ = ['MaskedCropClassifier', 'ShiftedCLIP']
