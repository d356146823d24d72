# SPDX-License-Identifier: Apache-2.0
"""Segmentation of batches of a table, as Ray Data hands them out."""

import json
from typing import Any

import numpy as np

from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import load_vocabulary
from ovseg_mm.zoo import DEFAULT_MODEL

from .inferencer import OpenVocabInferencer, Words


class BatchSegmenter:
    """Callable that segments the images of a batch.

    A worker builds the model once and keeps it for all of its batches:

    >>> images = ray.data.read_images('street', mode='RGB')
    >>> found = images.map_batches(
    ...     BatchSegmenter,
    ...     fn_constructor_kwargs=dict(classes=['road', 'sky'], model='toy'),
    ...     batch_size=4,
    ...     compute=ray.data.ActorPoolStrategy(size=2),
    ... )

    Args:
        classes (Words): Class texts, see
            :func:`ovseg_mm.vocabulary.load_vocabulary`.
        column (str): Column of the images: RGB arrays (H, W, 3) uint8, or
            ``bytes`` of image files.
        model (Any): See :class:`OpenVocabInferencer`.
        checkpoint (str, optional): See :class:`OpenVocabInferencer`.
        device (str, optional): See :class:`OpenVocabInferencer`.
        **call (Any): Options of :meth:`OpenVocabInferencer.__call__`, such as
            ``background``.

    Raises:
        FileNotFoundError: See :class:`OpenVocabInferencer`.
        InputError: See :class:`OpenVocabInferencer`.
    """

    def __init__(
        self,
        classes: Words,
        column: str = 'image',
        model: Any = DEFAULT_MODEL,
        checkpoint: str | None = None,
        device: str | None = None,
        **call: Any,
    ) -> None:
        self.words = load_vocabulary(classes)
        self.column = column
        self.inferencer = OpenVocabInferencer(model, checkpoint, device)
        self.call = call

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Segment a batch.

        Args:
            batch (dict[str, np.ndarray]): Columns of n rows each.

        Returns:
            dict[str, np.ndarray]: The columns without the images, and

            - ``labels``: n label maps (H, W), uint8, or uint16 for more than
              255 labels; ``vocabulary.ignore_label`` means no label;
            - ``shares``: n JSON strings, the share of the image that each
              found class covers, by class name.

        Raises:
            InputError: If the column is missing, or holds no images.
        """
        if self.column not in batch:
            raise InputError(
                f'the batch has no column {self.column!r}; it has '
                f'{", ".join(batch)}: name one with column='
            )
        images = list(batch[self.column])
        results = self.inferencer(
            images, self.words, batch_size=max(len(images), 1), **self.call
        )
        deep = np.uint8 if self.words.ignore_label == 255 else np.uint16
        labels = np.empty(len(results), dtype=object)
        for index, result in enumerate(results):
            labels[index] = result.labels.astype(deep)
        shares = [
            json.dumps(result.shares(), ensure_ascii=False)
            for result in results
        ]
        rest = {k: v for k, v in batch.items() if k != self.column}
        return {**rest, 'labels': labels, 'shares': np.array(shares, 'O')}
