# SPDX-License-Identifier: Apache-2.0
"""Download CLIP weights from the hub by open_clip's names."""

import os
from collections.abc import Sequence
from pathlib import Path

from ovseg_mm.utils.paths import cache_folder

from .files import file_sha256

_SAFE_NAMES = {'open_clip_pytorch_model.bin': 'open_clip_model.safetensors'}


def fetch_clip_weights(arch: str, pretrained: str) -> Path:
    """Fetch the weights of a CLIP, or find them in a cache.

    The cache of the hub's client is searched first, then the cache of this
    package. A download shows a progress bar and continues an interrupted one.
    ``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` are
    respected.

    Args:
        arch (str): Name of an open_clip model.
        pretrained (str): One of its tags.

    Returns:
        Path: The file.

    Raises:
        FileNotFoundError: If the file is in no cache and cannot be fetched;
            the message says which file to place where.
    """
    import open_clip

    config = open_clip.get_pretrained_cfg(arch, pretrained)
    repo, filename = os.path.split(config.get('hf_hub', ''))
    if not repo:
        raise FileNotFoundError(
            f'open_clip names no hub repository for {arch} {pretrained!r}: '
            f'download {config.get("url") or "its weights"} and set '
            "custom_clip_weights='/path/to/the/file'"
        )
    filename = filename or 'open_clip_pytorch_model.bin'
    names = [_SAFE_NAMES[filename]] if filename in _SAFE_NAMES else []
    names.append(filename)
    return fetch_hub_file(repo, names, f'the weights of {arch} {pretrained!r}')


def fetch_hub_file(repo: str, names: Sequence[str], what: str) -> Path:
    """Fetch the first of some files that a hub repository has.

    Args:
        repo (str): ``ORG/NAME``.
        names (Sequence[str]): Names of files, the best one first.
        what (str): Description of the files for the message.

    Returns:
        Path: The file.

    Raises:
        FileNotFoundError: If none is in a cache or can be fetched.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.utils import EntryNotFoundError

    folder = cache_folder() / 'clip' / repo.replace('/', '--')
    for name in names:
        cached = try_to_load_from_cache(repo, name)
        if isinstance(cached, str):
            return Path(cached)
        if (folder / name).is_file():
            return folder / name
    for name in names[:-1]:
        try:
            return _download(repo, name, folder)
        except EntryNotFoundError:
            continue
        except Exception as error:  # network and disk raise many types
            raise _missing_file(what, repo, name, error) from error
    try:
        return _download(repo, names[-1], folder)
    except Exception as error:
        raise _missing_file(what, repo, names[-1], error) from error


def _download(repo: str, name: str, folder: Path) -> Path:
    """Download a file of a hub repository, or the rest of a partial one.

    The client of the hub starts from the beginning in every process.
    """
    from filelock import FileLock
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    found = get_hf_file_metadata(hf_hub_url(repo, name))
    etag = found.etag or 'unknown'
    folder.mkdir(parents=True, exist_ok=True)
    target, partial = folder / name, folder / f'{name}.{etag[:16]}.part'
    with FileLock(f'{target}.lock'):
        if target.is_file():  # another process has been faster
            return target
        with open(partial, 'ab', buffering=0) as file:
            http_get(
                hf_hub_url(repo, name, revision=found.commit_hash),
                file,
                resume_size=file.tell(),
                headers=build_hf_headers(),
                expected_size=found.size,
                displayed_filename=name,
            )
        # Of large files, the hub's tag is the hash.
        if len(etag) == 64 and file_sha256(partial) != etag:
            partial.unlink()
            raise ValueError('what was received has another SHA-256')
        os.replace(partial, target)
    return target


def _missing_file(
    what: str, repo: str, file: str, error: Exception
) -> FileNotFoundError:
    endpoint = os.environ.get('HF_ENDPOINT') or 'https://huggingface.co'
    reason = ' '.join(str(error).split())[:200]
    remedy = f"custom_clip_weights='/path/to/{file}'"
    if what.startswith('hf-hub:'):
        file = 'config and weights'
        remedy = "'local-dir:/path/to/the/folder' in its place"
    return FileNotFoundError(
        f'{what} is in no cache and could not be fetched '
        f'({type(error).__name__}: {reason}): download {file} from '
        f'{endpoint.rstrip("/")}/{repo}/tree/main on a machine that can, copy '
        f'it here and set {remedy}'
    )
