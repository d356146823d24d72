# SPDX-License-Identifier: Apache-2.0
"""Class texts, labels, colours and prompt templates."""

from .agreement import check_same_classes
from .background import background_words
from .command_line import parse_classes
from .loading import load_vocabulary, shipped_vocabularies
from .palette import class_palette
from .templates import get_templates
from .unknown import UNKNOWN
from .vocabulary import Vocabulary

__all__ = [
    'UNKNOWN',
    'Vocabulary',
    'background_words',
    'check_same_classes',
    'class_palette',
    'get_templates',
    'load_vocabulary',
    'parse_classes',
    'shipped_vocabularies',
]
