# SPDX-License-Identifier: Apache-2.0
"""Drawing of label maps and mask proposals over images."""

from .overlay import draw_overlay, draw_panels
from .visualizer import OpenVocabVisualizer

__all__ = ['OpenVocabVisualizer', 'draw_overlay', 'draw_panels']
