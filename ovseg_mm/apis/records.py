# SPDX-License-Identifier: Apache-2.0
"""Records of the files that the command ``predict`` has segmented."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, TextIO

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.json_lines import append_lines, read_lines
from ovseg_mm.utils.paths import write_text

from .progress import changed_settings


class Records:
    """Records of the segmented files: ``results.jsonl``, one line per file.

    During a run, each process appends to a file of its own,
    ``results_RANK.jsonl`` for the rank RANK. At the end, the first process
    joins these files.

    Args:
        folder (Path): Folder of the results.
        settings (dict[str, Any]): Settings that influence the results.
        keep (bool): Whether to keep the records of earlier runs.

    Raises:
        InputError: If the records to keep were made with other settings.
    """

    def __init__(
        self, folder: Path, settings: dict[str, Any], keep: bool
    ) -> None:
        self.folder = folder
        self._target = folder / 'results.jsonl'
        self._settings = folder / 'results_settings.json'
        self._known: dict[str, dict] = {}
        settings = json.loads(json.dumps(settings))
        if keep and self._settings.is_file():
            changed = changed_settings(self._settings, settings)
            if changed:
                raise InputError(
                    f'{folder} holds results made with other settings '
                    f'(different: {", ".join(changed)}); leave out '
                    '--skip-existing to replace these results, or give '
                    'another folder with --out'
                )
            self._known = self._read()
        self._text = json.dumps(settings, indent=1) + '\n'

    def is_done(self, path: Path, kinds: Collection[str]) -> bool:
        """Whether an earlier run has finished a file.

        Args:
            path (Path): The file to segment.
            kinds (Collection[str]): Kinds of results that are wanted.

        Returns:
            bool: True if earlier records are kept, the record of the file
            lists all ``kinds``, and the result files exist and are not
            older than the file. Otherwise False.
        """
        files = self._known.get(str(path), {}).get('files', {})
        try:
            changed = path.stat().st_mtime
            return set(kinds) <= set(files) and all(
                Path(file).stat().st_mtime >= changed
                for file in files.values()
            )
        except OSError:
            return False

    def start(self) -> None:
        """Prepare the folder of the results for a run.

        The settings are saved. Records of earlier runs are deleted, unless
        ``keep`` is set. Only the first process calls this.
        """
        if not self._known:
            for file in self._files():
                file.unlink()
        write_text(self._settings, self._text)

    def open(self, rank: int) -> TextIO:
        """Open the file to which a process appends its records.

        Args:
            rank (int): Rank of the process.

        Returns:
            TextIO: File to append JSON lines to.
        """
        return append_lines(self.folder / f'results_{rank}.jsonl')

    def join(self, paths: Iterable[Path]) -> list[dict]:
        """Join the files of all processes into ``results.jsonl``.

        Only the first process calls this. ``results.jsonl`` starts with the
        records of earlier runs for files that are not in ``paths``. The
        records of ``paths`` follow.

        Args:
            paths (Iterable[Path]): Segmented files, in the order in which
                their records shall be written.

        Returns:
            list[dict]: Records of ``paths``, in the same order. After an
            interruption, files that were not reached are left out.
        """
        known = self._read()
        names = [str(path) for path in paths]
        others = [name for name in known if name not in set(names)]
        ordered = [known[name] for name in (*others, *names) if name in known]
        lines = [json.dumps(record, ensure_ascii=False) for record in ordered]
        write_text(self._target, ''.join(f'{line}\n' for line in lines))
        for file in self._files():
            if file != self._target:
                file.unlink()
        return [known[name] for name in names if name in known]

    def _files(self) -> list[Path]:
        parts = sorted(self.folder.glob('results_[0-9]*.jsonl'))
        return [*([self._target] if self._target.is_file() else []), *parts]

    def _read(self) -> dict[str, dict]:
        """Newest record of each segmented file, by path."""
        records = [r for file in self._files() for r in read_lines(file)]
        return {
            record['image']: record
            for record in records
            if isinstance(record, dict) and 'image' in record
        }
