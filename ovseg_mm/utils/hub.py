# SPDX-License-Identifier: Apache-2.0
"""Downloads from the hub, resumed after an interruption and checked.

``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` are used.
The hub's client shows a progress bar.
"""

import glob
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .paths import file_sha256


@dataclass(frozen=True)
class HubFile:
    """A file of a repository of the hub.

    Attributes:
        repository (str): ``'ORG/NAME'``.
        name (str): Path of the file in the repository.
        kind (str): ``'model'``, ``'space'`` or ``'dataset'``.
        revision (str): Commit, tag or branch.
        num_bytes (int): Size that the file must have; 0 if unknown.
        sha256 (str): Hash that the file must have; empty if unknown.
    """

    repository: str
    name: str
    kind: str = 'model'
    revision: str = 'main'
    num_bytes: int = 0
    sha256: str = ''

    @property
    def page(self) -> str:
        """Page of the repository that lists the file."""
        kind = '' if self.kind == 'model' else f'{self.kind}s/'
        return f'{endpoint()}/{kind}{self.repository}/tree/{self.revision}'


def endpoint() -> str:
    """Address of the hub, without a slash at its end."""
    address = os.environ.get('HF_ENDPOINT') or 'https://huggingface.co'
    return address.rstrip('/')


def find_in_hub_cache(file: HubFile) -> Path | None:
    """Find a file in the cache of the hub's client.

    Args:
        file (HubFile): The file.

    Returns:
        Path | None: Its path, if it is there and has the right size and
        hash.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        file.repository,
        file.name,
        revision=file.revision,
        repo_type=file.kind,
    )
    if not isinstance(found, str):
        return None
    path = Path(found)
    if file.num_bytes not in (0, path.stat().st_size):
        return None
    if file.sha256 and file_sha256(path) != file.sha256:
        return None
    return path


def download(file: HubFile, folder: Path, copies: int = 0) -> Path:
    """Download a file, or the rest of a partly downloaded one.

    The client of the hub starts from the beginning in every process.

    Args:
        file (HubFile): The file.
        folder (Path): Folder of the file; created if missing.
        copies (int): Number of additional copies for which the disk must have
            room.

    Returns:
        Path: The file. It has the size and hash of ``file``, or of the hub if
        they are unknown.

    Raises:
        InputError: If the hub has or sent another file than expected, or
            the disk has no room.
        OSError: If the download fails; the hub's client raises other types
            as well.
    """
    from filelock import FileLock
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    def address(revision: str) -> str:
        return hf_hub_url(
            file.repository,
            file.name,
            repo_type=file.kind,
            revision=revision,
            endpoint=endpoint(),
        )

    found = get_hf_file_metadata(address(file.revision))
    # For large files, the hub's tag is the hash.
    etag = found.etag or 'unknown'
    sha256 = file.sha256 or (etag if len(etag) == 64 else '')
    if len(etag) == 64 and sha256 != etag:
        raise InputError(_other_file(file, 'SHA-256', etag, sha256))
    if file.num_bytes and found.size not in (None, file.num_bytes):
        sizes = (f'{found.size} bytes', f'{file.num_bytes}')
        raise InputError(_other_file(file, 'size', *sizes))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / Path(file.name).name
    partial = target.with_name(f'{target.name}.{etag[:16]}.part')
    with FileLock(f'{target}.lock'):
        # Another or an earlier process has downloaded it.
        if target.is_file() and sha256 in ('', file_sha256(target)):
            return target
        with open(partial, 'ab', buffering=0) as stream:
            size = found.size or file.num_bytes
            _check_room(folder, size * (1 + copies) - stream.tell(), file)
            http_get(
                address(found.commit_hash or file.revision),
                stream,
                resume_size=stream.tell(),
                headers=build_hf_headers(),
                expected_size=found.size,
                displayed_filename=target.name,
            )
        received = file_sha256(partial) if sha256 else ''
        if received != sha256:
            partial.unlink()
            raise InputError(
                f'what was received as {file.name} of {file.repository} has '
                f'another SHA-256, {received} instead of {sha256}, and was '
                'removed; try again, or use another network'
            )
        os.replace(partial, target)
        # Parts of an earlier file of this name.
        for other in folder.glob(f'{glob.escape(target.name)}.*.part'):
            other.unlink()
    return target


def _other_file(file: HubFile, what: str, found: str, wanted: str) -> str:
    return (
        f'the hub has another {file.name} in {file.repository} than this '
        f'version of the package knows: its {what} is {found} instead of '
        f'{wanted}; nothing was downloaded'
    )


def _check_room(folder: Path, needed: int, file: HubFile) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f'{file.name} needs {_gigabytes(needed)} in {folder}, where '
            f'{_gigabytes(free)} are free; make room, or name a folder of '
            'another disk with OVSEG_CACHE'
        )


def _gigabytes(size: int) -> str:
    return f'{size / 1e9:.2f} GB'
