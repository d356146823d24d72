# SPDX-License-Identifier: Apache-2.0
"""Memory of the process."""

import ctypes
import os

# Parameters of mallopt(3), and their values: the largest block that glibc
# takes from its heap, and the free heap that it keeps.
_SETTINGS = {-3: 1 << 25, -1: (1 << 31) - 1}


def keep_freed_memory() -> None:
    """Keep the memory of freed tensors for the next ones.

    By default glibc returns the memory of a large tensor to the system when
    it is freed. The next tensor gets new pages, which the system fills with
    zeros: 5 to 20 % of the CPU time of a prediction. Commands call this when
    they start. Without effect if a variable ``MALLOC_...`` of glibc is set,
    and with other C libraries.
    """
    if any(name.startswith('MALLOC_') for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        for parameter, value in _SETTINGS.items():
            mallopt(parameter, value)
