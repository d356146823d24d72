# SPDX-License-Identifier: Apache-2.0
"""Weights of a model for prediction: from a checkpoint, or only CLIP's."""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from torch import nn

from ovseg_mm.checkpoints import load_checkpoint_into
from ovseg_mm.models.clip_towers import parameters_of_no_file
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import file_sha256, find_checkpoint


class LoadedWeights(NamedTuple):
    """Origin of the weights of a model.

    Attributes:
        text (str): Description for a log.
        source (Path, optional): Checkpoint file. None: CLIP's weights alone.
    """

    text: str
    source: Path | None

    def sha256(self, model: nn.Module) -> str:
        """Return the SHA-256 of the checkpoint, or of the model's tensors."""
        if self.source is not None:
            return file_sha256(self.source)
        digest = hashlib.sha256()
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(name.encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy())
        return digest.hexdigest()


def load_weights(
    model: BaseModule, checkpoint: str | Path | None
) -> LoadedWeights:
    """Fill a model with its weights.

    Args:
        model (BaseModule): Model of this package or of one that extends it.
        checkpoint (str | Path, optional): Checkpoint, ours or a published
            one. None or ``'none'`` for a model that learns nothing: CLIP's
            weights fill its towers.

    Returns:
        LoadedWeights: Where the weights come from.

    Raises:
        FileNotFoundError: If the checkpoint does not exist, or CLIP's weights
            cannot be fetched.
        InputError: If the checkpoint does not fit the model; or if there is
            none and the model has learned parameters.
    """
    path = find_checkpoint(checkpoint)
    if path is not None:
        report = load_checkpoint_into(model, path)
        text = f'{report.converted} tensors of {report.source}'
        return LoadedWeights(f'{text} ({report.layout})', report.source)
    learned = parameters_of_no_file(model)
    if learned:
        raise InputError(
            f'the model needs a checkpoint: {len(learned)} parameters such '
            f'as {learned[0]} are neither in the weights that model.clip '
            'names nor in the weights of an init_cfg; give the path of a '
            'checkpoint'
        )
    with _quiet():
        model.init_weights()
    return LoadedWeights("CLIP's weights, no checkpoint", None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MMEngine from printing a line for each parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
