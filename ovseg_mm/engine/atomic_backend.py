# SPDX-License-Identifier: Apache-2.0
"""File backend that writes a file completely or not at all."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ovseg_mm.utils.paths import atomic_write, remove_leftovers, to_disk


class AtomicBackend(LocalBackend):
    """Local files, written under a temporary name and then renamed.

    If the process is killed while it writes a checkpoint, the previous file
    stays unchanged; if writing fails, no file is left.
    """

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Write bytes to a file.

        Args:
            obj (bytes | memoryview): Content.
            filepath (str | Path): File; its folder is made if missing.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A checkpoint is large, and only one process writes it.
        remove_leftovers(path.parent, path.name)
        with atomic_write(path) as file:
            file.write(obj)
            to_disk(file)


register_backend('atomic', AtomicBackend, force=True)
