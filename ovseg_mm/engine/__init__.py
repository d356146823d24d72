# SPDX-License-Identifier: Apache-2.0
from . import checkpoint_loader  # noqa: F401 - registers itself
from .atomic_backend import AtomicBackend
from .distributed import setup_cpu_processes
from .hooks import (
    ActivationCheckpointingHook,
    CheckpointGuardHook,
    FiniteLossHook,
    VocabularyHook,
)
from .optim_constructor import OpenVocabOptimWrapperConstructor
from .optim_wrapper import AutocastOptimWrapper
from .sharding import ResumableFSDPStrategy, is_clip_block

__all__ = [
    'AtomicBackend',
    'AutocastOptimWrapper',
    'ActivationCheckpointingHook',
    'CheckpointGuardHook',
    'FiniteLossHook',
    'OpenVocabOptimWrapperConstructor',
    'ResumableFSDPStrategy',
    'VocabularyHook',
    'is_clip_block',
    'setup_cpu_processes',
]
