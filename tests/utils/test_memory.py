# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

import pytest

from ovseg_mm.utils import memory

FOLDER = str(Path(memory.__file__).parent)

# Page faults of 50 arrays of 8 MiB, one after the other. The module is
# imported without the package, whose imports take seconds.
SCRIPT = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from memory import keep_freed_memory

keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(1 << 23)
before = faults()
for _ in range(50):
    bytes(bytearray(1 << 23))
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='of glibc')
def test_pages_are_used_again(monkeypatch):
    def faults():
        command = [sys.executable, '-c', SCRIPT, FOLDER]
        return int(subprocess.check_output(command, text=True))

    kept = faults()
    # The user's settings of glibc stay; these are its defaults.
    monkeypatch.setenv('MALLOC_MMAP_THRESHOLD_', str(1 << 17))
    assert kept < 20_000 < 100_000 < faults()
