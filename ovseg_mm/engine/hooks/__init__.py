# SPDX-License-Identifier: Apache-2.0
from .activation_hook import (
    ActivationCheckpointingHook,
    recompute_activations,
)
from .checkpoint_guard_hook import CheckpointGuardHook
from .finite_loss_hook import FiniteLossHook
from .visualization_hook import OpenVocabVisualizationHook
from .vocabulary_hook import VocabularyHook

__all__ = [
    'OpenVocabVisualizationHook',
    'ActivationCheckpointingHook',
    'CheckpointGuardHook',
    'FiniteLossHook',
    'VocabularyHook',
    'recompute_activations',
]
