# SPDX-License-Identifier: Apache-2.0
"""Pictures of label maps."""

from .hook import OpenVocabVisualizationHook
from .overlay import draw_overlay, draw_panels
from .visualizer import OpenVocabVisualizer

__all__ = [
    'OpenVocabVisualizationHook',
    'OpenVocabVisualizer',
    'draw_overlay',
    'draw_panels',
]
