# SPDX-License-Identifier: Apache-2.0
"""Files with text embeddings, which are an input of exported graphs."""

import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ovseg_mm.models import OpenVocabSegmentor
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import atomic_write

from .facts import vocabulary_facts


def embeddings_of(model: OpenVocabSegmentor) -> Tensor:
    """Embeddings of the texts that a model scores.

    Args:
        model (OpenVocabSegmentor): Model with its vocabulary.

    Returns:
        Tensor: Embeddings on the CPU, (T, P, C) float32, for T class texts
        with P prompts each, and C channels.
    """
    with torch.no_grad():
        text = model.text_embeddings(model.scored_vocabulary)
    return text.detach().cpu().float().clone()


def save_embeddings(model: OpenVocabSegmentor, path: str | Path) -> Tensor:
    """Write the embeddings of a model's class texts to an NPZ file.

    The file has two arrays: ``text`` contains the embeddings. ``facts`` is a
    JSON string that describes the class texts, see
    :func:`~ovseg_mm.deploy.facts.vocabulary_facts`.

    Args:
        model (OpenVocabSegmentor): Model with its vocabulary.
        path (str | Path): NPZ file to write or replace.

    Returns:
        Tensor: Embeddings, (T, P, C) float32, for T class texts with P
        prompts each, and C channels.

    Raises:
        OSError: If the file cannot be written.
    """
    text = embeddings_of(model)
    facts = json.dumps(dict(vocabulary=vocabulary_facts(model)))
    with atomic_write(path) as file:
        np.savez(file, text=text.numpy(), facts=np.array(facts))
    return text


def check_embeddings_file(path: Path) -> None:
    """Check that a file does not exist, or may be replaced.

    Args:
        path (Path): File to write or replace.

    Raises:
        InputError: If the file exists, but was not written by
            :func:`save_embeddings`.
    """
    if not path.exists():
        return
    try:
        with np.load(path, allow_pickle=False) as arrays:
            known = {'text', 'facts'} == set(arrays.files)
    except (ValueError, OSError, zipfile.BadZipFile):
        known = False
    if not known:
        raise InputError(
            f'{path} exists and was not written by export; move this file, or '
            'give another name'
        )
