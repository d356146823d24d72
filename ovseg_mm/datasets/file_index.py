# SPDX-License-Identifier: Apache-2.0
"""Lists of samples, and the files of a folder by their stem."""

import codecs
import os
import os.path as osp
import re
from collections.abc import Iterable, Iterator, Sequence

from mmengine import fileio
from mmengine.fileio import LocalBackend

from ovseg_mm.utils.errors import InputError


def read_names(path: str, backend_args: dict | None = None) -> list[str]:
    """Read the names in a list of samples.

    Args:
        path (str): Text file with a name a line, UTF-8, or UTF-16 with a
            byte-order mark. Blank lines, blanks around names and a byte-order
            mark do not count; any line ends will do.
        backend_args (dict, optional): Options of MMEngine's file backend.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is not a text file.
    """
    if fileio.isdir(path, backend_args=backend_args):
        raise InputError(
            f'the list of samples {path} is a folder; name a text file with '
            'a sample a line, or leave ann_file out to take all images'
        )
    if not fileio.exists(path, backend_args=backend_args):
        raise FileNotFoundError(
            f'the list of samples {path} does not exist; check data_root and '
            'ann_file'
        )
    content = fileio.get(path, backend_args=backend_args)
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode('utf-16' if wide else 'utf-8-sig')
    except UnicodeDecodeError as error:
        raise InputError(
            f'the list of samples {path} is not a text file in UTF-8 '
            f'({error.reason} at byte {error.start}); save it as one'
        ) from error
    lines = (line.strip() for line in re.split(r'\r\n|\r|\n', text))
    return [line for line in lines if line]


class FileIndex:
    """The files of a folder that end in certain suffixes, by their stem.

    A stem is the path below the folder without suffix, with ``'/'``. The case
    of suffixes does not matter. Hidden files do not count; links that lead
    nowhere do, and are remembered.

    Args:
        folder (str): The folder.
        suffixes (Sequence[str]): What the names end in.
        backend_args (dict, optional): Options of MMEngine's file backend.
        stems (Iterable[str], optional): If given, only the folders of these
            are read, not all below.
        leave_out (Iterable[str]): Paths, of files or folders, that do not
            count.

    Attributes:
        files: Paths by stem, sorted; several if they differ in the suffix.
        others: Paths that have another suffix.
        broken: Paths that are links to nowhere.
    """

    def __init__(
        self,
        folder: str,
        suffixes: Sequence[str],
        backend_args: dict | None = None,
        stems: Iterable[str] | None = None,
        leave_out: Iterable[str] = (),
    ) -> None:
        self.folder = folder
        # The longest first, so that _x.png counts before .png.
        self.suffixes = sorted(suffixes, key=len, reverse=True)
        self.files: dict[str, list[str]] = {}
        self.others: list[str] = []
        self.broken: set[str] = set()
        leave_out = {osp.normpath(path) for path in leave_out}
        for path in sorted(self._list(stems, backend_args)):
            if leave_out and _is_in(osp.normpath(path), leave_out):
                continue
            stem = self.stem_of(osp.relpath(path, folder))
            if stem is None:
                self.others.append(path)
            else:
                self.files.setdefault(stem, []).append(path)

    def stem_of(self, name: str) -> str | None:
        """Stem of a path below the folder; None if the suffix is another."""
        name = name.replace(os.sep, '/')
        for suffix in self.suffixes:
            if name.lower().endswith(suffix.lower()):
                return name[: len(name) - len(suffix)]
        return None

    def paths(self) -> list[str]:
        """All files, sorted."""
        return sorted(path for paths in self.files.values() for path in paths)

    def find(self, name: str) -> list[str]:
        """Files that a name in a list may mean.

        Args:
            name (str): Path below the folder; without suffix, or with it,
                which then decides between files of the same stem.
        """
        name = osp.normpath(name).replace(os.sep, '/')
        if name in self.files:
            return self.files[name]
        stem = self.stem_of(name)
        found = self.files.get(stem, []) if stem is not None else []
        exact = [path for path in found if path.endswith(f'/{name}')]
        return exact or found

    def _list(
        self, stems: Iterable[str] | None, backend_args: dict | None
    ) -> Iterator[str]:
        backend = fileio.get_file_backend(
            self.folder, backend_args=backend_args
        )
        parts, below = [''], True
        if stems is not None:
            parts, below = sorted({osp.dirname(stem) for stem in stems}), False
        for part in parts:
            folder = osp.join(self.folder, part) if part else self.folder
            if not backend.isdir(folder):
                continue
            if isinstance(backend, LocalBackend):
                yield from self._walk(folder, below, {osp.realpath(folder)})
                continue
            for file in backend.list_dir_or_file(
                folder, list_dir=False, recursive=below
            ):
                yield osp.join(folder, file)

    def _walk(
        self, folder: str, below: bool, above: set[str]
    ) -> Iterator[str]:
        """List a local folder, with links that lead nowhere."""
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith('.'):
                    continue
                if entry.is_dir():
                    real = osp.realpath(entry.path)
                    # A link to a folder above would have no end.
                    if below and real not in above:
                        yield from self._walk(
                            entry.path, below, above | {real}
                        )
                    continue
                if entry.is_symlink() and not osp.exists(entry.path):
                    self.broken.add(entry.path)
                yield entry.path


def _is_in(path: str, places: set[str]) -> bool:
    """Whether a path is one of some, or below one."""
    while path not in places:
        parent = osp.dirname(path)
        if parent == path:
            return False
        path = parent
    return True
