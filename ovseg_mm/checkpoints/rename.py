# SPDX-License-Identifier: Apache-2.0
"""Renaming of the tensors of a checkpoint by a table."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ovseg_mm.utils.errors import InputError


@dataclass(frozen=True)
class Drop:
    """Action of a renaming table: leave the matching tensors out.

    Attributes:
        reason (str): Reason why the tensors are not needed, for the report.
    """

    reason: str


TensorMap = Callable[[re.Match, Tensor], dict[str, Tensor]]
"""Function from the match of an old name and its tensor to new tensors."""

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
    r"""Rename the tensors of a checkpoint by a table.

    Each row of the table is a pair of a regular expression and an action. A
    tensor gets the action of the first row whose expression matches the whole
    name. An action is

    - a string: the new name, with ``\1`` for the first group of the match;
    - a :class:`Drop`: the tensor is left out;
    - a function: it takes the match and the tensor, and returns a dict of new
      names and tensors.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors by old name.
        table (Table): Rows of the table, in order.

    Returns:
        Renamed: Tensors by new name, and the used, dropped and unused old
        names.

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
                    'several layouts'
                )
        result.state_dict.update(renamed)
        result.used.append(name)
    return result


def unsharded_name(name: str) -> str:
    """Return a parameter name without the parts that wrappers add.

    FSDP and activation checkpointing wrap modules, which makes the names of
    their parameters longer.
    """
    return '.'.join(part for part in name.split('.') if part not in _WRAPPERS)


def split_rows(*targets: str) -> TensorMap:
    r"""Return a table action that cuts a tensor into equal blocks of rows.

    Args:
        *targets (str): New names of the blocks, with ``\1`` for the first
            group of the match.

    Returns:
        TensorMap: Action for a row of a renaming table.
    """

    def split(match: re.Match, tensor: Tensor) -> dict[str, Tensor]:
        if len(tensor) % len(targets):
            raise InputError(
                f'{match.string} has {len(tensor)} rows, expected a multiple '
                f'of {len(targets)}; use the checkpoint as published, without '
                'changes'
            )
        size = len(tensor) // len(targets)
        return {
            match.expand(target): tensor[i * size : (i + 1) * size].clone()
            for i, target in enumerate(targets)
        }

    return split


def map_tensor(target: str, function: Callable[[Tensor], Tensor]) -> TensorMap:
    r"""Return a table action that renames and changes a tensor.

    Args:
        target (str): New name, with ``\1`` for the first group of the match.
        function (Callable[[Tensor], Tensor]): Function from the old to the
            new tensor.

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
