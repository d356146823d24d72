# SPDX-License-Identifier: Apache-2.0
from .evaluate import BENCHMARKS, Evaluation, evaluate
from .inferencer import OpenVocabInferencer, Segmentation

__all__ = [
    'BENCHMARKS',
    'Evaluation',
    'OpenVocabInferencer',
    'Segmentation',
    'evaluate',
]
