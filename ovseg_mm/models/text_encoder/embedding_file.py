# SPDX-License-Identifier: Apache-2.0
"""Text embeddings from a file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovseg_mm.checkpoints import check_finite
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import expanded
from ovseg_mm.vocabulary import Vocabulary, load_vocabulary


class EmbeddingFile:
    """Text embeddings from a ``.npy`` file with one row per class.

    A row is looked up by the texts of its class. A vocabulary may therefore
    contain any of the classes of the file, in any order. Rows are converted to
    float32, but not normalised.

    Args:
        file (str | Path): File with an array of floats, (T, C), for T classes
            and embeddings of width C.
        vocabulary (Any): Class texts of the T rows, in the order of the rows,
            see :func:`ovseg_mm.vocabulary.load_vocabulary`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file does not hold an array of finite floats with
            one row per class.
    """

    def __init__(self, file: str | Path, vocabulary: Any) -> None:
        self.path = expanded(file)
        vocabulary = load_vocabulary(vocabulary)
        rows = _read(self.path)
        if len(rows) != vocabulary.num_texts:
            raise InputError(
                f'{self.path} has {len(rows)} rows, but {vocabulary.source} '
                f'has {vocabulary.num_texts} class texts; set '
                'embeddings.vocabulary to the class texts for which the file '
                'was made, one for each row'
            )
        self._rows = dict(zip(vocabulary.class_texts, rows))

    def __call__(self, vocabulary: Vocabulary) -> Tensor:
        """Look up the embeddings of the classes of a vocabulary.

        Args:
            vocabulary (Vocabulary): Vocabulary with T classes.

        Returns:
            Tensor: Text embeddings, (T, 1, C) float32.

        Raises:
            ValueError: If the file has no embedding of a class.
        """
        missing = [
            texts[0]
            for texts in vocabulary.class_texts
            if texts not in self._rows
        ]
        if missing:
            raise InputError(
                f'{self.path} has no embedding of {missing[0]!r}'
                f'{f" and {len(missing) - 1} more" * (len(missing) > 1)}; '
                'set prompts.embeddings=None to compute embeddings with the '
                'text encoder'
            )
        rows = [self._rows[texts] for texts in vocabulary.class_texts]
        return torch.stack(rows)[:, None]


def _read(path: Path) -> Tensor:
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} does not exist; give the path of a .npy file of text '
            'embeddings'
        )
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(
            f'{path} cannot be read as a .npy file ({error}); save the '
            'embeddings with numpy.save'
        ) from error
    if getattr(rows, 'ndim', 0) != 2 or rows.dtype.kind != 'f':
        found = (
            f'{rows.dtype} of shape {rows.shape}'
            if isinstance(rows, np.ndarray)
            else f'{type(rows).__name__} of arrays'
        )
        raise InputError(
            f'{path} contains {found}; expected an array of floats with one '
            'row per class'
        )
    table = torch.from_numpy(rows.astype(np.float32))
    check_finite({'its table': table}, str(path))
    return table
