# SPDX-License-Identifier: Apache-2.0
"""Fusion of a SCAN segmentor with a fine-tuned CLIP."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import expanded

from .files import read_weights
from .layouts import recognise
from .layouts.scan import SHIFTED_CLIP

_REGION_TOWER, _TEXT_TOWER = 'region_encoder.', 'text_encoder.'
# Modules of our model of the fine-tuned CLIP.
_OWN_PARTS = {'region_encoder', 'context_encoder', 'text_encoder'}


def shifted_clip_towers(
    path: str | Path, state_dict: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """Read the fine-tuned towers that a SCAN segmentor takes over.

    These are the region tower and the text tower; the tower of whole images
    was not trained.

    Args:
        path (str | Path): Checkpoint of SCAN's CLIP with contextual shift,
            ours or a published one.
        state_dict (Mapping[str, Tensor]): Tensors of the segmentor by our
            names; if it has no text tower, only the region tower is read.
        where (str): Name of the segmentor's file in messages.

    Returns:
        dict[str, Tensor]: Tensors by our names, all of which are in
        ``state_dict``.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If it is another kind of checkpoint or does not fit.
    """
    path = expanded(path)
    has_text = any(name.startswith(_TEXT_TOWER) for name in state_dict)
    wanted = (_REGION_TOWER, _TEXT_TOWER) if has_text else (_REGION_TOWER,)
    towers = {
        name: tensor
        for name, tensor in _shifted_clip(path).items()
        if name.startswith(wanted)
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


def _shifted_clip(path: Path) -> dict[str, Tensor]:
    """Read the fine-tuned CLIP under our names."""
    tensors = read_weights(path).tensors
    parts = {name.partition('.')[0] for name in tensors}
    if parts == {*_OWN_PARTS, 'logit_scale'}:
        return tensors
    if 'decode_head' in parts and 'region_encoder' in parts:
        found = 'a segmentor'
    else:
        layout = recognise(tensors, str(path))
        if layout.method == SHIFTED_CLIP:
            return layout.convert(tensors).state_dict
        found = layout.method
    raise InputError(
        f'{path} is a checkpoint of {found}, but only one of {SHIFTED_CLIP} '
        'can be fused with a segmentor'
    )
