# SPDX-License-Identifier: Apache-2.0
"""Replacing the CLIP towers of a SCAN segmentor by a fine-tuned CLIP."""

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
    """Read the towers of a fine-tuned CLIP, to replace towers of SCAN.

    The tower that encodes regions is read. The text tower is read only if the
    SCAN segmentor has a text tower. The tower that encodes whole images is
    not read, because it was not trained.

    Args:
        path (str | Path): Checkpoint of SCAN's CLIP that was fine-tuned with
            contextual shift, either published by the authors or written by
            this package.
        state_dict (Mapping[str, Tensor]): Tensors of the segmentor, renamed
            to the names in our models.
        where (str): Name of the segmentor's file, used in messages.

    Returns:
        dict[str, Tensor]: Tensors that replace the tensors of the same name
        in ``state_dict``.

    Raises:
        FileNotFoundError: If ``path`` does not exist.
        InputError: If ``path`` is another kind of checkpoint, or a tensor of
            a tower has another shape in the segmentor or is missing there.
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
                f'{path} does not fit {where}: {name} is {theirs} in the CLIP '
                f'and {ours or "missing"} in the segmentor; give two files '
                'with the same CLIP architecture'
            )
    return towers


def _shifted_clip(path: Path) -> dict[str, Tensor]:
    """Read a fine-tuned CLIP, and rename its tensors to our names."""
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
        f'{path} is a checkpoint of {found}, expected a checkpoint of '
        f'{SHIFTED_CLIP!r}; set fuse_clip (--fuse-clip) to the checkpoint of '
        'the fine-tuned CLIP'
    )
