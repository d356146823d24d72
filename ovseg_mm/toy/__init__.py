# SPDX-License-Identifier: Apache-2.0
"""A small data set of drawn scenes and its CLIP, for demos and tests."""
