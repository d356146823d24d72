# SPDX-License-Identifier: Apache-2.0
"""Segmentation of rasters that are larger than the memory, tile by tile.

This subpackage needs the extra ``geo``: ``pip install 'ovseg_mm[geo]'``.
"""

from .reader import RasterReader, is_georeferenced
from .segment import RasterResult, segment_raster

__all__ = [
    'RasterReader',
    'RasterResult',
    'is_georeferenced',
    'segment_raster',
]
