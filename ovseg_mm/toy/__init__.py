# SPDX-License-Identifier: Apache-2.0
"""Toy world: a small data set of drawn images, and a CLIP trained on it."""
