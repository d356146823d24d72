# SPDX-License-Identifier: Apache-2.0
"""The layouts that published checkpoints come in, one module a method."""

from collections.abc import Iterable

from . import cat_seg, clip
from .layout import Layout

LAYOUTS = (*cat_seg.LAYOUTS, *clip.LAYOUTS)
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
    methods = dict.fromkeys(layout.method for layout in LAYOUTS)
    raise ValueError(
        f'{where} has none of the known layouts ({", ".join(methods)}): its '
        f'{len(names)} tensors begin with {", ".join(names[:3]) or "nothing"}'
    )


__all__ = ['LAYOUTS', 'Layout', 'recognise']
