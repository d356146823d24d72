# SPDX-License-Identifier: Apache-2.0
"""Toy world: a small data set of drawn scenes, and a CLIP trained on it."""
