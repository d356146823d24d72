# SPDX-License-Identifier: Apache-2.0
"""Setting of the memory allocator."""

import ctypes
import os

# Parameters of mallopt(3), and their values: the largest block that glibc
# takes from its heap, and the free heap that it keeps.
_SETTINGS = {-3: 1 << 25, -1: (1 << 31) - 1}


def keep_freed_memory() -> None:
    """Make the process reuse the memory of freed tensors.

    By default, glibc returns the memory of a large freed tensor to the
    system. The next tensor then gets new memory, which the system fills with
    zeros. This takes 5 to 20 % of the CPU time of a prediction. Commands call
    this function when they start.

    Nothing happens with other C libraries, or if the user has set a variable
    ``MALLOC_...`` of glibc.
    """
    if any(name.startswith('MALLOC_') for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        for parameter, value in _SETTINGS.items():
            mallopt(parameter, value)
