# SPDX-License-Identifier: Apache-2.0
"""Text embeddings in a file, for graphs that take them as an input."""

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
    """Embeddings of the texts that the model scores.

    Args:
        model (OpenVocabSegmentor): Model with its vocabulary.

    Returns:
        Tensor: (T, P, C) float32 on the CPU.
    """
    with torch.no_grad():
        text = model.text_embeddings(model.scored_vocabulary)
    return text.detach().cpu().float().clone()


def save_embeddings(model: OpenVocabSegmentor, path: str | Path) -> Tensor:
    """Write the embeddings of a model's words.

    The file has two arrays: ``text``, (T, P, C) float32, and ``facts``, a
    JSON text with ``vocabulary`` as in the JSON file beside a graph.

    Args:
        model (OpenVocabSegmentor): Model with its vocabulary.
        path (str | Path): NPZ file to write or replace.

    Returns:
        Tensor: The embeddings, (T, P, C).

    Raises:
        OSError: If the file cannot be written.
    """
    text = embeddings_of(model)
    facts = json.dumps(dict(vocabulary=vocabulary_facts(model)))
    with atomic_write(path) as file:
        np.savez(file, text=text.numpy(), facts=np.array(facts))
    return text


def check_embeddings_file(path: Path) -> None:
    """Raise if a file exists that :func:`save_embeddings` did not write.

    Args:
        path (Path): File to write.

    Raises:
        InputError: If it exists and is another file.
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
            f'{path} exists and was not written by export; move it, or give '
            'another name'
        )
