# SPDX-License-Identifier: Apache-2.0
"""Helpers that every other part of the package may import."""
