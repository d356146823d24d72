# SPDX-License-Identifier: Apache-2.0
from .vocabulary_hook import VocabularyHook

__all__ = ['VocabularyHook']
