# SPDX-License-Identifier: Apache-2.0
"""The plain path: methods computed as in their papers, not optimised.

The benchmark compares its speed, and tests compare its outputs, with the
optimised code of this package.
"""

from .path import plain_path

__all__ = ['plain_path']
