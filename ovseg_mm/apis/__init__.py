# SPDX-License-Identifier: Apache-2.0
from .benchmarks import BENCHMARKS
from .evaluate import Evaluation, evaluate
from .inferencer import OpenVocabInferencer
from .result import Segmentation

__all__ = [
    'BENCHMARKS',
    'Evaluation',
    'OpenVocabInferencer',
    'Segmentation',
    'evaluate',
]
