# SPDX-License-Identifier: Apache-2.0
"""Loading of weights for prediction: a checkpoint, or only CLIP's weights."""

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
    """Description of the weights that a model has loaded.

    Attributes:
        text (str): Origin of the weights in words, for a log.
        source (Path, optional): Checkpoint file. None: only CLIP's weights
            were loaded.
    """

    text: str
    source: Path | None

    def sha256(self, model: nn.Module) -> str:
        """Compute the SHA-256 of the checkpoint file.

        If only CLIP's weights were loaded, the SHA-256 of all tensors of
        ``model`` is computed instead.
        """
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
    """Load the weights of a model for prediction.

    Args:
        model (BaseModule): Model of this package, or of a package that
            extends this one.
        checkpoint (str | Path, optional): Checkpoint of this package, or one
            that the authors of the method published. None or ``'none'``:
            CLIP's weights, for a model without other learned parameters.

    Returns:
        LoadedWeights: Description of the weights.

    Raises:
        FileNotFoundError: If the checkpoint does not exist, or CLIP's weights
            cannot be downloaded.
        InputError: If the checkpoint does not fit the model, or if the model
            needs a checkpoint and ``checkpoint`` is None.
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
