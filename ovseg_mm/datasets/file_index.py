# SPDX-License-Identifier: Apache-2.0
"""Reading of sample lists, and an index of the files in a folder."""

import codecs
import os
import os.path as osp
import re
from collections.abc import Iterable, Iterator, Sequence

from mmengine import fileio
from mmengine.fileio import LocalBackend

from ovseg_mm.utils.errors import InputError


def read_names(path: str, backend_args: dict | None = None) -> list[str]:
    """Read the names of samples from a text file.

    Args:
        path (str): Text file with one name per line, in UTF-8 or in UTF-16
            with a byte-order mark. Empty lines and spaces around names are
            ignored.
        backend_args (dict, optional): Options of MMEngine's file backend.

    Returns:
        list[str]: Names in the order of the file.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the file is a folder or not a text file.
    """
    if fileio.isdir(path, backend_args=backend_args):
        raise InputError(
            f'the list of samples {path} is a folder; set ann_file to a text '
            'file with one sample per line, or remove ann_file to use all '
            'images'
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
            f'({error.reason} at byte {error.start}); save it in UTF-8'
        ) from error
    lines = (line.strip() for line in re.split(r'\r\n|\r|\n', text))
    return [line for line in lines if line]


class FileIndex:
    """Index that finds the files in a folder by stem.

    The stem of a file is its path below the folder, without suffix and with
    ``'/'`` between folders. Suffixes match in upper and lower case. Hidden
    files are skipped.

    Args:
        folder (str): Folder to search, with its subfolders.
        suffixes (Sequence[str]): Suffixes of the files to index.
        backend_args (dict, optional): Options of MMEngine's file backend.
        stems (Iterable[str], optional): Stems of the wanted files. Only the
            folders of these files are read, which is faster.
        leave_out (Iterable[str]): Files and folders to skip.

    Attributes:
        files (dict[str, list[str]]): Sorted paths of the files of each stem.
            A stem has several files if their suffixes differ.
        others (list[str]): Paths of the files that do not end in one of
            ``suffixes``.
        broken (set[str]): Paths of broken links. They are also in ``files``
            or ``others``.
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
        skipped = {osp.normpath(path) for path in leave_out}
        for path in sorted(self._list(stems, backend_args)):
            if skipped and _is_in(osp.normpath(path), skipped):
                continue
            stem = self.stem_of(osp.relpath(path, folder))
            if stem is None:
                self.others.append(path)
            else:
                self.files.setdefault(stem, []).append(path)

    def stem_of(self, name: str) -> str | None:
        """Return a path without its suffix.

        None if the path does not end in one of ``suffixes``.
        """
        name = name.replace(os.sep, '/')
        for suffix in self.suffixes:
            if name.lower().endswith(suffix.lower()):
                return name[: len(name) - len(suffix)]
        return None

    def stem_of_path(self, path: str) -> str:
        """Return the stem of a file in this index."""
        stem = self.stem_of(osp.relpath(path, self.folder))
        assert stem is not None, f'{path} is not in the index'
        return stem

    def paths(self) -> list[str]:
        """Return the sorted paths of all files in this index."""
        return sorted(path for paths in self.files.values() for path in paths)

    def find(self, name: str) -> list[str]:
        """Find the files that fit a name in a sample list.

        Args:
            name (str): Path below the folder. A suffix is optional; it
                selects one of several files with the same stem.

        Returns:
            list[str]: Paths of the files; empty if there are none.
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
        """Yield the files of a local folder, and record broken links.

        Args:
            folder (str): Folder to list.
            below (bool): Whether to list its subfolders too.
            above (set[str]): Real paths of the folder and its parents.

        Yields:
            str: Path of a file.
        """
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith('.'):
                    continue
                if entry.is_dir():
                    real = osp.realpath(entry.path)
                    # A link to a parent folder would recurse forever.
                    if below and real not in above:
                        yield from self._walk(
                            entry.path, below, above | {real}
                        )
                    continue
                if entry.is_symlink() and not osp.exists(entry.path):
                    self.broken.add(entry.path)
                yield entry.path


def _is_in(path: str, places: set[str]) -> bool:
    """Return whether a path is one of ``places`` or inside one of them."""
    while path not in places:
        parent = osp.dirname(path)
        if parent == path:
            return False
        path = parent
    return True
