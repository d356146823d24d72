# SPDX-License-Identifier: Apache-2.0
from .checkpoint_guard_hook import CheckpointGuardHook
from .vocabulary_hook import VocabularyHook

__all__ = ['CheckpointGuardHook', 'VocabularyHook']
