# SPDX-License-Identifier: Apache-2.0
"""Weights of named models: fetched once, converted, kept in the cache.

The cache folder of a model holds ``NAME.pth``, a checkpoint of this package,
and ``NAME.json``, the report of its conversion, which is written last.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.hub import HubFile, download, find_in_hub_cache
from ovseg_mm.utils.paths import (
    cache_folder,
    expanded,
    file_sha256,
    remove_leftovers,
    write_text,
)

from .table import ZooModel

if TYPE_CHECKING:
    from ovseg_mm.checkpoints import ConversionReport


def stored_checkpoint(model: ZooModel) -> Path | None:
    """Find the converted checkpoint of a model in the cache.

    Args:
        model (ZooModel): Model with a file.

    Returns:
        Path | None: The checkpoint; None if it is not there, or was made
        from another file than the table names.
    """
    checkpoint, report = _paths(model)
    try:
        facts = json.loads(report.read_text(encoding='utf-8'))
        same = facts['checkpoint_bytes'] == checkpoint.stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return None
    wanted = model.file.sha256 if model.file else ''
    same &= facts.get('added') or wanted in ('', facts.get('sha256'))
    return checkpoint if same else None


def fetch_checkpoint(model: ZooModel) -> Path:
    """Return the converted checkpoint of a model; get it if it is missing.

    It is downloaded, checked, converted into the cache, and the downloaded
    file is removed. Of several processes, one does this; the others wait.

    Args:
        model (ZooModel): Model with a file.

    Returns:
        Path: The checkpoint.

    Raises:
        InputError: If no program can download the file, or it is not the
            file of the model.
        OSError: If it cannot be fetched or stored.
    """
    assert model.file is not None, model.name
    stored = stored_checkpoint(model)
    if stored is not None:
        return stored
    if not model.file.repository:
        raise InputError(_by_hand(model))
    return _locked(model, lambda: _fetch(model))


def add_checkpoint(model: ZooModel, path: str | Path) -> Path:
    """Put a published file that a person has downloaded into the cache.

    Args:
        model (ZooModel): Model with a file.
        path (str | Path): The file.

    Returns:
        Path: The converted checkpoint; an earlier one is replaced.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the model needs none, or the file is not of this model.
        OSError: If the cache cannot be written.
    """
    if model.file is None:
        raise InputError(
            f"{model.name} needs no file: it uses only CLIP's weights, which "
            'are found without being added'
        )
    path = expanded(path)
    if not path.exists():
        raise FileNotFoundError(
            f'{path} does not exist; give the path of the downloaded file'
        )
    return _locked(model, lambda: _store(model, path, added=True))


def _paths(model: ZooModel) -> tuple[Path, Path]:
    folder = cache_folder() / 'models' / model.name
    return folder / f'{model.name}.pth', folder / f'{model.name}.json'


def _locked(model: ZooModel, work: Callable[[], Path]) -> Path:
    from filelock import FileLock

    folder = _paths(model)[0].parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / '.lock'):
            return work()
    except PermissionError as error:
        raise OSError(
            f'{folder} cannot be written ({error.strerror or error}); name '
            'another cache folder with OVSEG_CACHE'
        ) from error


def _fetch(model: ZooModel) -> Path:
    """Download and convert, unless another process has been faster."""
    stored = stored_checkpoint(model)
    if stored is not None:
        return stored
    assert model.file is not None, model.name
    file = HubFile(
        model.file.repository,
        model.file.name,
        model.file.kind,
        model.file.revision or 'main',
        model.file.num_bytes,
        model.file.sha256,
    )
    known = find_in_hub_cache(file)
    if known is not None:
        return _store(model, known)
    if not model.is_free:
        print(
            f'{model.name}: the licence of these weights is '
            f'{model.weights_licence}; it may not allow commercial use',
            file=sys.stderr,
        )
    try:
        received = download(file, _paths(model)[0].parent, copies=1)
    except InputError:
        raise
    except Exception as error:  # the hub's client raises many types
        raise _not_fetched(model, file, error) from error
    try:
        checkpoint = _store(model, received)
    except InputError:
        received.unlink()
        raise
    # After any other error, such as a full disk, the next call goes on.
    received.unlink()
    return checkpoint


def _store(model: ZooModel, source: Path, added: bool = False) -> Path:
    """Convert a file into the cache; the report makes it valid."""
    from ovseg_mm.checkpoints import convert
    from ovseg_mm.engine.launch import read_config
    from ovseg_mm.version import __version__

    assert model.file is not None, model.name
    checkpoint, report_file = _paths(model)
    remove_leftovers(checkpoint.parent)
    report_file.unlink(missing_ok=True)
    print(f'{model.name}: converting {source.name}', file=sys.stderr)
    try:
        config = read_config(model.config, model.options)
        report = convert(source, checkpoint, config)
    except InputError as error:
        raise InputError(
            f'{source} is not the file of {model.name}: {error}'
        ) from error
    sha256 = file_sha256(source)
    if model.file.sha256 not in ('', sha256):
        print(
            f'{source} fits {model.name}, but is not the published file: its '
            f'SHA-256 is {sha256}, not {model.file.sha256}',
            file=sys.stderr,
        )
    facts: dict[str, Any] = dict(
        model=model.name,
        added=added,
        sha256=sha256,
        bytes=source.stat().st_size,
        checkpoint_bytes=checkpoint.stat().st_size,
        licence=model.weights_licence,
        file=asdict(model.file),
        conversion=_facts_of(report),
        ovseg_mm_version=__version__,
    )
    write_text(report_file, json.dumps(facts, indent=1) + '\n')
    return checkpoint


def _facts_of(report: 'ConversionReport') -> dict[str, Any]:
    return dict(
        layout=report.layout,
        method=report.method,
        tensors=report.converted,
        used=len(report.used),
        dropped=report.dropped,
        unused=list(report.unused),
    )


def _by_hand(model: ZooModel) -> str:
    assert model.file is not None, model.name
    name = model.file.name or 'the file'
    note = f' ({model.file.note})' if model.file.note else ''
    return (
        f'no program can download the weights of {model.name}: get {name} '
        f'from {model.file.page}{note}, then run: python -m ovseg_mm add '
        f'{model.name} {model.file.name or "FILE"}; their licence is '
        f'{model.weights_licence}'
    )


def _not_fetched(model: ZooModel, file: HubFile, error: Exception) -> OSError:
    reason = ' '.join(str(error).split())[:300]
    return OSError(
        f'the weights of {model.name} could not be fetched '
        f'({type(error).__name__}: {reason}): run the command again, which '
        'continues where it stopped; or download '
        f'{file.name} from {file.page} on a machine that can, copy it here '
        f'and run: python -m ovseg_mm add {model.name} {file.name}'
    )
