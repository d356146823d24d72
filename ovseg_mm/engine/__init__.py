# SPDX-License-Identifier: Apache-2.0
from .atomic_backend import AtomicBackend
from .distributed import setup_cpu_processes
from .hooks import CheckpointGuardHook, VocabularyHook
from .optim_constructor import OpenVocabOptimWrapperConstructor
from .optim_wrapper import AutocastOptimWrapper

__all__ = [
    'AtomicBackend',
    'AutocastOptimWrapper',
    'CheckpointGuardHook',
    'OpenVocabOptimWrapperConstructor',
    'VocabularyHook',
    'setup_cpu_processes',
]
