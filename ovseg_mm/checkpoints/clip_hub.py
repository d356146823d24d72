# SPDX-License-Identifier: Apache-2.0
"""Download CLIP weights from the hub by open_clip's names."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ovseg_mm.utils.hub import HubFile, download, endpoint, find_in_hub_cache
from ovseg_mm.utils.paths import cache_folder

# OpenAI's CLIP has the MIT licence.
_FREE_TAGS = ('openai',)
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
        FileNotFoundError: If the file is not cached and cannot be fetched;
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
    return fetch_hub_file(
        repo,
        names,
        f'the weights of {arch} {pretrained!r}',
        tell_licence=pretrained not in _FREE_TAGS,
    )


def fetch_hub_file(
    repo: str, names: Sequence[str], what: str, tell_licence: bool = False
) -> Path:
    """Fetch a file of a hub repository, by the first name that it has.

    Args:
        repo (str): ``ORG/NAME``.
        names (Sequence[str]): Names to try, the preferred one first.
        what (str): Description of the file for messages.
        tell_licence (bool): Whether to say before a download that the
            licence is unknown here.

    Returns:
        Path: The file.

    Raises:
        FileNotFoundError: If no file of these names is in a cache or can
            be fetched.
    """
    from huggingface_hub.utils import EntryNotFoundError

    folder = _folder_of(repo)
    for name in names:
        cached = find_in_hub_cache(HubFile(repo, name))
        if cached is not None:
            return cached
        if (folder / name).is_file():
            return folder / name
    if tell_licence:
        print(
            f'{what}: the licence is not known here; it is on '
            f'{endpoint()}/{repo}',
            file=sys.stderr,
        )
    for name in names[:-1]:
        try:
            return download(HubFile(repo, name), folder)
        except EntryNotFoundError:
            continue
        except Exception as error:  # network and disk raise many types
            raise _missing_file(what, repo, name, error) from error
    try:
        return download(HubFile(repo, names[-1]), folder)
    except Exception as error:
        raise _missing_file(what, repo, names[-1], error) from error


def _folder_of(repo: str) -> Path:
    return cache_folder() / 'clip' / repo.replace('/', '--')


def _missing_file(
    what: str, repo: str, file: str, error: Exception
) -> FileNotFoundError:
    reason = ' '.join(str(error).split())[:200]
    remedy = f"custom_clip_weights='/path/to/{file}'"
    if what.startswith('hf-hub:'):
        file = 'config and weights'
        remedy = "'local-dir:/path/to/the/folder' in its place"
    return FileNotFoundError(
        f'{what}: not in the cache, and could not be fetched '
        f'({type(error).__name__}: {reason}): download {file} from '
        f'{HubFile(repo, file).page} on a machine that can, copy it into '
        f'{_folder_of(repo)}, or set {remedy}'
    )
