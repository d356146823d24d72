# SPDX-License-Identifier: Apache-2.0
"""Renaming of the tensors of a checkpoint by a renaming table."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ovseg_mm.utils.errors import InputError


@dataclass(frozen=True)
class Drop:
    """Action of a renaming table: leave out tensors that match its row.

    Attributes:
        reason (str): Reason why the tensors are not needed, shown in the
            report of a conversion.
    """

    reason: str


TensorMap = Callable[[re.Match, Tensor], dict[str, Tensor]]
"""Action of a renaming table: function that makes new tensors from an old one.

It takes the match of the regular expression with the old name, and the old
tensor. It returns a dict of new names and tensors.
"""

SHARDED = '_fsdp_wrapped_module'
_WRAPPERS = ('', SHARDED, '_checkpoint_wrapped_module')

Row = tuple[str, 'str | Drop | TensorMap']
Table = Sequence[Row]


class Renamed(NamedTuple):
    """Result of :func:`rename`.

    Attributes:
        state_dict (dict[str, Tensor]): Tensors by new name.
        used (list[str]): Old names of the tensors in ``state_dict``.
        dropped (dict[str, str]): Old names of the tensors that were left out
            on purpose, each with the reason.
        unused (list[str]): Old names that match no row of the table.
    """

    state_dict: dict[str, Tensor]
    used: list[str]
    dropped: dict[str, str]
    unused: list[str]


def rename(state_dict: Mapping[str, Tensor], table: Table) -> Renamed:
    r"""Rename the tensors of a checkpoint by a renaming table.

    Each row of the table is a pair of a regular expression and an action. The
    action of the first row whose regular expression matches the whole name of
    a tensor is applied to this tensor. An action is

    - a string: the new name. ``\1`` stands for the part of the old name that
      the first group of the regular expression matched.
    - a :class:`Drop`: the tensor is left out.
    - a function: it takes the match and the tensor, and returns a dict of new
      names and tensors.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors by old name.
        table (Table): Rows of the table, in order.

    Returns:
        Renamed: Tensors by new name, and lists of the old names of used,
        dropped and unused tensors.

    Raises:
        InputError: If two tensors get the same new name.
    """
    rows = [(re.compile(pattern), action) for pattern, action in table]
    result = Renamed({}, [], {}, [])
    for name, tensor in state_dict.items():
        found = _first_match(rows, name)
        if found is None:
            result.unused.append(name)
            continue
        match, action = found
        if isinstance(action, Drop):
            result.dropped[name] = action.reason
            continue
        if isinstance(action, str):
            renamed = {match.expand(action): tensor}
        else:
            renamed = action(match, tensor)
        for new_name in renamed:
            if new_name in result.state_dict:
                raise InputError(
                    f'{name!r} and an earlier tensor of the checkpoint get '
                    f'the same new name {new_name!r}; the checkpoint mixes '
                    'tensor names of several methods; use the checkpoint as '
                    'published'
                )
        result.state_dict.update(renamed)
        result.used.append(name)
    return result


def unsharded_name(name: str) -> str:
    """Return a parameter name without the parts that wrappers add.

    FSDP and activation checkpointing wrap modules. A wrapper adds a part to
    the names of the parameters in its module.
    """
    return '.'.join(part for part in name.split('.') if part not in _WRAPPERS)


def split_rows(*targets: str) -> TensorMap:
    r"""Return an action that splits a tensor into blocks of equal size.

    The tensor is split along its first axis.

    Args:
        *targets (str): New name of each block. ``\1`` stands for the part of
            the old name that the first group of the regular expression
            matched.

    Returns:
        TensorMap: Action for a row of a renaming table.
    """

    def split(match: re.Match, tensor: Tensor) -> dict[str, Tensor]:
        if len(tensor) % len(targets):
            raise InputError(
                f'{match.string} has the length {len(tensor)} along its first '
                f'axis, expected a multiple of {len(targets)}; use the '
                'checkpoint as published, without changes'
            )
        size = len(tensor) // len(targets)
        return {
            match.expand(target): tensor[i * size : (i + 1) * size].clone()
            for i, target in enumerate(targets)
        }

    return split


def map_tensor(target: str, function: Callable[[Tensor], Tensor]) -> TensorMap:
    r"""Return an action that renames a tensor and changes its value.

    Args:
        target (str): New name. ``\1`` stands for the part of the old name that
            the first group of the regular expression matched.
        function (Callable[[Tensor], Tensor]): Function that takes the old
            tensor and returns the new tensor.

    Returns:
        TensorMap: Action for a row of a renaming table.
    """

    def change(match: re.Match, tensor: Tensor) -> dict[str, Tensor]:
        return {match.expand(target): function(tensor).contiguous()}

    return change


def _first_match(
    rows: list[tuple[re.Pattern, 'str | Drop | TensorMap']], name: str
) -> 'tuple[re.Match, str | Drop | TensorMap] | None':
    for pattern, action in rows:
        match = pattern.fullmatch(name)
        if match:
            return match, action
    return None
