# SPDX-License-Identifier: Apache-2.0
"""What a layout of a published checkpoint is."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from ..rename import Renamed, Table, rename


@dataclass(frozen=True)
class Layout:
    """One way of naming the tensors of a method.

    Attributes:
        name (str): Short name, stored in converted checkpoints.
        method (str): Method as users call it, for messages.
        signature (tuple[str, ...]): Patterns; a file has this layout if each
            matches the whole of one of its names, ...
        without (str): ... and this pattern matches none.
        table (Table | Callable): Rows for
            :func:`ovseg_mm.checkpoints.rename`, giving the names of our
            models (``backbone.``, ``text_encoder.``, ``neck.``,
            ``decode_head.``); or what makes them from the names in a file.
        prepare (Callable, optional): Joins tensors before the table is used;
            takes and gives a dict of tensors by name.
        vocabulary (str, optional): Key of the shipped vocabulary that the
            published weights were trained with.
    """

    name: str
    method: str
    signature: tuple[str, ...]
    table: Table | Callable[[Iterable[str]], Table]
    without: str = ''
    prepare: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    vocabulary: str | None = None

    def matches(self, names: Iterable[str]) -> bool:
        """Whether a file with these tensor names has this layout."""
        names = list(names)
        if any(re.fullmatch(self.without, name) for name in names):
            return False
        return all(
            any(re.fullmatch(pattern, name) for name in names)
            for pattern in self.signature
        )

    def convert(self, state_dict: Mapping[str, Tensor]) -> Renamed:
        """Bring tensors of this layout under our names."""
        if self.prepare:
            state_dict = self.prepare(state_dict)
        table = self.table
        if callable(table):
            table = table(state_dict)
        return rename(state_dict, table)
