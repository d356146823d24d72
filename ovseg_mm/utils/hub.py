# SPDX-License-Identifier: Apache-2.0
"""Functions that download files from the Hugging Face hub.

An interrupted download can be resumed. Downloaded files are checked.

The environment variables ``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN`` and
``HF_HUB_OFFLINE`` have the same effect as in huggingface_hub.
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
    """A file in a repository of the Hugging Face hub.

    Attributes:
        repository (str): Name of the repository, ``'ORG/NAME'``.
        name (str): Path of the file in the repository.
        kind (str): Kind of the repository: ``'model'``, ``'space'`` or
            ``'dataset'``.
        revision (str): Commit, tag or branch.
        num_bytes (int): Expected size of the file; 0 if unknown.
        sha256 (str): Expected SHA-256 of the file; empty if unknown.
    """

    repository: str
    name: str
    kind: str = 'model'
    revision: str = 'main'
    num_bytes: int = 0
    sha256: str = ''

    @property
    def page(self) -> str:
        """URL of the page that lists the files of the repository."""
        kind = '' if self.kind == 'model' else f'{self.kind}s/'
        return f'{endpoint()}/{kind}{self.repository}/tree/{self.revision}'


def endpoint() -> str:
    """URL of the hub, without a slash at the end."""
    address = os.environ.get('HF_ENDPOINT') or 'https://huggingface.co'
    return address.rstrip('/')


def find_in_hub_cache(file: HubFile) -> Path | None:
    """Find a file in the cache of huggingface_hub.

    Args:
        file (HubFile): File to find.

    Returns:
        Path | None: Path of the file. None if it is not in the cache, or if
        the size or SHA-256 of the cached file is not the expected one.
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
    """Download a file, or continue an interrupted download.

    ``hf_hub_download`` of huggingface_hub is not used, because it cannot
    continue the download of a process that was killed.

    Args:
        file (HubFile): File to download.
        folder (Path): Folder to download into; created if missing.
        copies (int): Number of copies that the caller will make of the file.
            There must be disk space for them too.

    Returns:
        Path: The downloaded file, whose size and SHA-256 are checked.

    Raises:
        InputError: If the size or SHA-256 of the file on the hub, or the
            SHA-256 of the downloaded file, is not the expected one; or if the
            disk is too full.
        OSError: If the download fails. huggingface_hub may also raise errors
            of other types.
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
    # For large files, the ETag of the hub is the SHA-256.
    etag = found.etag or 'unknown'
    sha256 = file.sha256 or (etag if len(etag) == 64 else '')
    if len(etag) == 64 and sha256 != etag:
        raise InputError(_changed_on_hub(file, 'SHA-256', etag, sha256))
    if file.num_bytes and found.size not in (None, file.num_bytes):
        sizes = (f'{found.size} bytes', f'{file.num_bytes}')
        raise InputError(_changed_on_hub(file, 'size', *sizes))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / Path(file.name).name
    partial = target.with_name(f'{target.name}.{etag[:16]}.part')
    with FileLock(f'{target}.lock'):
        # The file exists if another process has downloaded it meanwhile.
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
                f'the download of {file.name} from {file.repository} has the '
                f'SHA-256 {received}, expected {sha256}, and was removed; try '
                'again, or use another network'
            )
        os.replace(partial, target)
        # Unfinished downloads of older versions of the file.
        for other in folder.glob(f'{glob.escape(target.name)}.*.part'):
            other.unlink()
    return target


def _changed_on_hub(file: HubFile, what: str, found: str, wanted: str) -> str:
    return (
        f'{file.name} in {file.repository} has changed on the hub: the '
        f'{what} is {found}, expected {wanted}; nothing was downloaded; '
        'check HF_ENDPOINT, or update ovseg_mm'
    )


def _check_room(folder: Path, needed: int, file: HubFile) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f'{file.name} needs {_gigabytes(needed)} in {folder}, but only '
            f'{_gigabytes(free)} are free; delete files, or set OVSEG_CACHE '
            'to a folder on another disk'
        )


def _gigabytes(size: int) -> str:
    return f'{size / 1e9:.2f} GB'
