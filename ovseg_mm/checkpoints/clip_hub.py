# SPDX-License-Identifier: Apache-2.0
"""Fetching of CLIP weights from the hub by open_clip's names."""

import os
from pathlib import Path

_SAFE_NAMES = {'open_clip_pytorch_model.bin': 'open_clip_model.safetensors'}


def fetch_clip_weights(arch: str, pretrained: str) -> Path:
    """Fetch the weights of a CLIP, or find them in the cache.

    The hub's client shows a bar, goes on where an interrupted download
    stopped, and follows ``HF_ENDPOINT``, ``HF_HOME`` and ``HF_HUB_OFFLINE``.

    Args:
        arch (str): Name of an open_clip model.
        pretrained (str): One of its tags.

    Returns:
        Path: The file in the cache.

    Raises:
        FileNotFoundError: If the file is not in the cache and cannot be
            fetched; says what to put where.
    """
    import open_clip
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.utils import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
    )

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
    for name in names:
        cached = try_to_load_from_cache(repo, name)
        if isinstance(cached, str):
            return Path(cached)
    for name in names:
        try:
            return Path(hf_hub_download(repo, name))
        except Exception as error:  # whatever the network raises
            absent = isinstance(error, EntryNotFoundError) and not isinstance(
                error, LocalEntryNotFoundError
            )
            if absent and name != names[-1]:
                continue
            raise _missing_file(arch, pretrained, repo, name, error) from error


def _missing_file(
    arch: str, pretrained: str, repo: str, name: str, error: Exception
) -> FileNotFoundError:
    endpoint = os.environ.get('HF_ENDPOINT') or 'https://huggingface.co'
    reason = ' '.join(str(error).split())[:200]
    return FileNotFoundError(
        f'the weights of {arch} {pretrained!r} are not in the cache and could '
        f'not be fetched ({type(error).__name__}: {reason}): download {name} '
        f'from {endpoint.rstrip("/")}/{repo}/tree/main on a machine that can, '
        "copy it here and set custom_clip_weights='/path/to/"
        f"{name}'"
    )
