# SPDX-License-Identifier: Apache-2.0
from .loading import LoadOpenVocabAnnotations

__all__ = ['LoadOpenVocabAnnotations']
