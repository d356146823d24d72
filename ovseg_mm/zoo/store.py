# SPDX-License-Identifier: Apache-2.0
"""Cache of the weights of named models, which are downloaded once.

The cache folder of a model contains ``NAME.pth``, a checkpoint of this
package, and ``NAME.json``, the report of the conversion. The report is
written last and marks the checkpoint as complete.
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
        model (ZooModel): Model with a weight file.

    Returns:
        Path | None: Path of the checkpoint. None: there is no complete
        checkpoint, or it was made from a downloaded file that the metafiles
        no longer list for this model.
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
    """Return the converted checkpoint of a model; create it if it is missing.

    The weight file is downloaded, checked and converted. The converted
    checkpoint is stored in the cache, and the downloaded file is removed. If
    several processes call this function at the same time, one does the work
    and the other processes wait.

    Args:
        model (ZooModel): Model with a weight file.

    Returns:
        Path: Path of the checkpoint.

    Raises:
        InputError: If the file must be downloaded by hand, or the downloaded
            file is not the published file of the model.
        OSError: If the file cannot be downloaded or stored.
    """
    assert model.file is not None, model.name
    stored = stored_checkpoint(model)
    if stored is not None:
        return stored
    if not model.file.repository:
        raise InputError(_by_hand(model))
    return _locked(model, lambda: _fetch(model))


def add_checkpoint(model: ZooModel, path: str | Path) -> Path:
    """Convert a downloaded weight file and store the result in the cache.

    Args:
        model (ZooModel): Model with a weight file.
        path (str | Path): Downloaded file.

    Returns:
        Path: Path of the checkpoint; an earlier checkpoint is replaced.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the model needs no file, or the file does not belong
            to this model.
        OSError: If the cache cannot be written.
    """
    if model.file is None:
        raise InputError(
            f'{model.name} needs no file, because it uses only the weights '
            'of CLIP, which are downloaded when they are needed; leave out '
            'this step'
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
            f'{folder} cannot be written ({error.strerror or error}); set '
            'the environment variable OVSEG_CACHE to another folder'
        ) from error


def _fetch(model: ZooModel) -> Path:
    """Download and convert the weights, unless another process has done it."""
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
    # After other errors, such as a full disk, the downloaded file is kept for
    # the next call.
    received.unlink()
    return checkpoint


def _store(model: ZooModel, source: Path, added: bool = False) -> Path:
    """Convert a weight file and store the result in the cache.

    The cache gets the converted checkpoint and the report of the conversion.

    Args:
        model (ZooModel): Model with a weight file.
        source (Path): Weight file.
        added (bool): Whether the user downloaded the file and added it.

    Returns:
        Path: Path of the checkpoint.

    Raises:
        InputError: If the file does not belong to this model.
    """
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
            f'{source} is not a weight file of {model.name}; download the '
            f'file again. Reason: {error}'
        ) from error
    sha256 = file_sha256(source)
    if model.file.sha256 not in ('', sha256):
        print(
            f'{source} fits {model.name}, but differs from the published '
            f'file: SHA-256 is {sha256}, not {model.file.sha256}',
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
        f'the weights of {model.name} (licence: {model.weights_licence}) '
        f'must be downloaded by hand; download {name} from '
        f'{model.file.page}{note}, then run: python -m ovseg_mm add '
        f'{model.name} {model.file.name or "FILE"}'
    )


def _not_fetched(model: ZooModel, file: HubFile, error: Exception) -> OSError:
    reason = ' '.join(str(error).split())[:300]
    return OSError(
        f'the weights of {model.name} could not be downloaded '
        f'({type(error).__name__}: {reason}); run the command again, which '
        f'continues the download; or download {file.name} from {file.page} '
        'on another computer, copy it to this computer and run: python -m '
        f'ovseg_mm add {model.name} {file.name}'
    )
