# SPDX-License-Identifier: Apache-2.0
from .batches import BatchSegmenter
from .benchmarks import BENCHMARKS
from .evaluate import Evaluation, evaluate
from .inferencer import OpenVocabInferencer
from .result import Segmentation

__all__ = [
    'BENCHMARKS',
    'BatchSegmenter',
    'Evaluation',
    'OpenVocabInferencer',
    'Segmentation',
    'evaluate',
]
