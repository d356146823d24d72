# SPDX-License-Identifier: Apache-2.0
"""The layouts that published checkpoints come in, one module a method."""

from collections.abc import Iterable

from ovseg_mm.utils.errors import InputError

from . import (
    cascade_clip,
    cat_seg,
    cat_seg_v1,
    clip,
    resnet,
    scan,
    swin,
    zsseg,
)
from .layout import Layout

LAYOUTS = (
    *cat_seg.LAYOUTS,
    *cat_seg_v1.LAYOUTS,
    *cascade_clip.LAYOUTS,
    *zsseg.LAYOUTS,
    *scan.LAYOUTS,
    *clip.LAYOUTS,
    *resnet.LAYOUTS,
    *swin.LAYOUTS,
)
"""All layouts; where two match, the first one counts."""


def recognise(names: Iterable[str], where: str = 'the checkpoint') -> Layout:
    """Find the layout of a checkpoint.

    Args:
        names (Iterable[str]): Names of its tensors (a state dict will do).
        where (str): What to call the checkpoint in the message.

    Returns:
        Layout: The first of ``LAYOUTS`` that matches.

    Raises:
        ValueError: If none matches.
    """
    names = list(names)
    for layout in LAYOUTS:
        if layout.matches(names):
            return layout
    known = ', '.join(dict.fromkeys(layout.method for layout in LAYOUTS))
    raise InputError(
        f'{where} has no layout that is known (those of {known}): its '
        f'{len(names)} tensors begin with {", ".join(names[:3]) or "nothing"}'
    )


def method_of(names: Iterable[str]) -> str | None:
    """Tell the method from tensor names; None if there is no telling."""
    names = list(names)
    for layout in LAYOUTS:
        if layout.matches(names):
            return layout.method
    return None


__all__ = ['LAYOUTS', 'Layout', 'method_of', 'recognise']
