# SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import expanded

from .files import read_weights
from .layouts import recognise
from .layouts.scan import SHIFTED_CLIP

_TOWERS = ('region_encoder.', 'text_encoder.')


def shifted_clip_towers(
    path: str | Path, state_dict: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """Read the towers that a segmentor of SCAN takes over from fine-tuning.

    These are the tower of the regions and that of the texts; the one that
    sees whole images was not trained.

    Args:
        path (str | Path): Checkpoint of SCAN's CLIP with contextual shift,
            ours or a published one.
        state_dict (Mapping[str, Tensor]): Of the segmentor, our names.
        where (str): What to call the segmentor's file in messages.

    Returns:
        dict[str, Tensor]: Tensors by our names, all of which ``state_dict``
        has.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another kind or does not fit.
    """
    path = expanded(path)
    tensors = read_weights(path).tensors
    layout = recognise(tensors, str(path))
    if layout.method != SHIFTED_CLIP:
        raise InputError(
            f'{path} is a checkpoint of {layout.method}, but only one of '
            f'{SHIFTED_CLIP} can be fused with a segmentor'
        )
    towers = {
        name: tensor
        for name, tensor in layout.convert(tensors).state_dict.items()
        if name.startswith(_TOWERS)
    }
    for name, tensor in towers.items():
        theirs, ours = tuple(tensor.shape), None
        if name in state_dict:
            ours = tuple(state_dict[name].shape)
        if theirs != ours:
            raise InputError(
                f'{path} does not fit {where}: {name} is {theirs} in it, and '
                f'{ours or "missing"} there; fuse files of the same CLIP'
            )
    return towers
