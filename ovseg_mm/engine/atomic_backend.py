# SPDX-License-Identifier: Apache-2.0
"""File backend that writes a file completely or not at all."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ovseg_mm.utils.paths import atomic_write, remove_leftovers, to_disk


class AtomicBackend(LocalBackend):
    """File backend for local files that leaves no incomplete file.

    A file is written under a temporary name and then renamed. If writing
    fails or the process is killed, an earlier file of the same name stays
    unchanged.
    """

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Write bytes to a file.

        Args:
            obj (bytes | memoryview): Content of the file.
            filepath (str | Path): Path of the file. A missing folder is
                created.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Checkpoints are large, and only one process writes them.
        remove_leftovers(path.parent, path.name)
        with atomic_write(path) as file:
            file.write(obj)
            to_disk(file)


register_backend('atomic', AtomicBackend, force=True)
