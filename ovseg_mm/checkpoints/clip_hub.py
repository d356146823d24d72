# SPDX-License-Identifier: Apache-2.0
"""Download of CLIP weights from the Hugging Face hub."""

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
    """Find the weight file of a CLIP in a cache, or download it.

    The cache of ``huggingface_hub`` is searched first, then the cache of this
    package. A download shows a progress bar and resumes if it was
    interrupted. The environment variables ``HF_ENDPOINT``, ``HF_HOME``,
    ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` apply.

    Args:
        arch (str): Name of an open_clip model, such as ``'ViT-B-16'``.
        pretrained (str): Tag of the model's weights in open_clip, such as
            ``'openai'``.

    Returns:
        Path: Weight file in the cache.

    Raises:
        FileNotFoundError: If the file is not cached and cannot be
            downloaded. The message says into which folder the user can copy
            the file.
    """
    import open_clip

    config = open_clip.get_pretrained_cfg(arch, pretrained)
    repo, filename = os.path.split(config.get('hf_hub', ''))
    if not repo:
        raise FileNotFoundError(
            f'open_clip names no hub repository for {arch} {pretrained!r}; '
            f'download {config.get("url") or "the weights"} and set '
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
    """Find a file of a hub repository in a cache, or download it.

    Args:
        repo (str): Repository, ``'ORG/NAME'``.
        names (Sequence[str]): Possible names of the file, the preferred name
            first.
        what (str): Description of the file, used in messages.
        tell_licence (bool): Whether to print, before a download, on which
            web page the licence of the file is.

    Returns:
        Path: File in the cache.

    Raises:
        FileNotFoundError: If no file with one of these names is cached, and
            none can be downloaded.
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
            f'{what}: read the licence on {endpoint()}/{repo} before use',
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
    remedy = f"set custom_clip_weights='/path/to/{file}'"
    if what.startswith('hf-hub:'):
        file = 'config and weights'
        remedy = f"write 'local-dir:/path/to/the/folder' instead of {what}"
    return FileNotFoundError(
        f'{what}: not in the cache, and could not be downloaded '
        f'({type(error).__name__}: {reason}); download {file} from '
        f'{HubFile(repo, file).page} on another machine and copy the '
        f'download into {_folder_of(repo)}, or {remedy}'
    )
