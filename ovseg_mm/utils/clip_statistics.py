# SPDX-License-Identifier: Apache-2.0
"""Mean and standard deviation of the pixels in CLIP's training images.

Each constant has three values, for red, green and blue.
"""

CLIP_MEAN = (122.7709383, 116.7460125, 104.09373615)
"""Mean of pixel values in [0, 255]."""

CLIP_STD = (68.5005327, 66.6321579, 70.3231630)
"""Standard deviation of pixel values in [0, 255]."""

CLIP_UNIT_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of pixel values in [0, 1]; CLIP's own files use this range."""

CLIP_UNIT_STD = (0.26862954, 0.26130258, 0.27577711)
"""Standard deviation of pixel values in [0, 1]."""

CLIP_MEAN_COLOUR = (124, 116, 103)
"""Colour close to ``CLIP_MEAN``, uint8; fills a crop outside its region."""
