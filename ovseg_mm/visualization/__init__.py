# SPDX-License-Identifier: Apache-2.0
"""Drawing of label maps, scores and mask proposals over images."""

from .heatmap import draw_heatmap
from .overlay import draw_overlay, draw_panels
from .visualizer import OpenVocabVisualizer

__all__ = [
    'OpenVocabVisualizer',
    'draw_heatmap',
    'draw_overlay',
    'draw_panels',
]
