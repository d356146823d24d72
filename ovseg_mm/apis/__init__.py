# SPDX-License-Identifier: Apache-2.0
from .inferencer import OpenVocabInferencer, Segmentation

__all__ = ['OpenVocabInferencer', 'Segmentation']
