# SPDX-License-Identifier: Apache-2.0
"""Data sets and what reads and writes their files."""

from .image_files import read_label_map, write_label_map, write_png
from .open_vocab_dataset import OpenVocabDataset
from .transforms import LoadOpenVocabAnnotations

__all__ = [
    'LoadOpenVocabAnnotations',
    'OpenVocabDataset',
    'read_label_map',
    'write_label_map',
    'write_png',
]
