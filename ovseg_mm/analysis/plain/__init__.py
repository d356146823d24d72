# SPDX-License-Identifier: Apache-2.0
"""The plain path: methods computed as in their papers, not optimised.

The benchmark compares the speed of the plain path with the speed of the
optimised code of this package. Tests compare their outputs.
"""

from .path import plain_path

__all__ = ['plain_path']
