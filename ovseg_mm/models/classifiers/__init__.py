# SPDX-License-Identifier: Apache-2.0
from .class_crop_classifier import ClassCropClassifier
from .shifted_clip import ShiftedCLIP

__all__ = ['ClassCropClassifier', 'ShiftedCLIP']
