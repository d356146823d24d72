# SPDX-License-Identifier: Apache-2.0
"""Export of models to files that run without this package."""

from .embeddings import save_embeddings
from .export import FORMATS, ExportReport, export_model

__all__ = [
    'FORMATS',
    'ExportReport',
    'export_model',
    'save_embeddings',
]
