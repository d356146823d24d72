# SPDX-License-Identifier: Apache-2.0
"""The methods as their papers write them, to compare speed and outputs."""

from .path import plain_path

__all__ = ['plain_path']
