# SPDX-License-Identifier: Apache-2.0
"""Segmentation of the batches of a Ray data set."""

import json
from typing import Any

import numpy as np

from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import load_vocabulary
from ovseg_mm.zoo import DEFAULT_MODEL

from .inferencer import OpenVocabInferencer, Words


class BatchSegmenter:
    """Callable that segments images, for ``map_batches`` of Ray Data.

    Each worker of Ray builds the model once and segments many batches:

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
        column (str): Name of the column that holds the images: RGB arrays
            (H, W, 3) uint8, or ``bytes`` of image files.
        model (Any): See :class:`OpenVocabInferencer`.
        checkpoint (str, optional): See :class:`OpenVocabInferencer`.
        device (str, optional): See :class:`OpenVocabInferencer`.
        **call (Any): Options of :meth:`OpenVocabInferencer.__call__`, such as
            ``background``.

    Raises:
        FileNotFoundError: If the model, config or checkpoint does not exist.
        InputError: If the class texts or the device cannot be used, or the
            checkpoint does not fit the model.
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
        """Segment the images of a batch.

        Args:
            batch (dict[str, np.ndarray]): Columns of the batch by name, with n
                rows each.

        Returns:
            dict[str, np.ndarray]: The batch with two new columns, but without
            the column of images:

            - ``labels``: n label maps, (H, W) uint8, in which 255 means no
              label. For more than 255 labels: uint16, 65535 means no label.
            - ``shares``: n JSON strings such as ``'{"road": 0.6}'``, with the
              share of the image that each class of the label map covers.

        Raises:
            InputError: If the column of images is missing, or a value in
                this column is not an image.
        """
        if self.column not in batch:
            raise InputError(
                f'the batch has no column {self.column!r}, only '
                f'{", ".join(batch)}; set column to the name of the column '
                'with the images'
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
