# SPDX-License-Identifier: Apache-2.0
"""Rename the tensors of a checkpoint by a table."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ovseg_mm.utils.errors import InputError


@dataclass(frozen=True)
class Drop:
    """Action of a row whose tensors are known and left out on purpose.

    Attributes:
        reason (str): Reason for the report.
    """

    reason: str


TensorMap = Callable[[re.Match, Tensor], dict[str, Tensor]]
"""Function that makes new tensors from the matched name and the tensor."""

SHARDED = '_fsdp_wrapped_module'
_WRAPPERS = ('', SHARDED, '_checkpoint_wrapped_module')

Row = tuple[str, 'str | Drop | TensorMap']
Table = Sequence[Row]


class Renamed(NamedTuple):
    """Result of :func:`rename`.

    Attributes:
        state_dict (dict[str, Tensor]): Tensors by their new names.
        used (list[str]): Old names of the tensors in ``state_dict``.
        dropped (dict[str, str]): Old names that are left out on purpose, with
            the reason.
        unused (list[str]): Old names that no row matches.
    """

    state_dict: dict[str, Tensor]
    used: list[str]
    dropped: dict[str, str]
    unused: list[str]


def rename(state_dict: Mapping[str, Tensor], table: Table) -> Renamed:
    r"""Rename the entries of a checkpoint.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors by name.
        table (Table): Ordered rows ``(pattern, action)``. The first pattern
            that matches a whole name decides; the action is the new name (a
            template with ``\1``), a :class:`Drop`, or a function of the
            match and the tensor that gives new names and tensors.

    Returns:
        Renamed: New tensors, and the used, dropped and unused old names.

    Raises:
        InputError: If two entries claim the same new name.
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
                    f'{name!r} would become {new_name!r}, but an earlier '
                    'entry of the checkpoint already has this name'
                )
        result.state_dict.update(renamed)
        result.used.append(name)
    return result


def unsharded_name(name: str) -> str:
    """Return a parameter name without the parts that wrappers add to it.

    Sharding and activation checkpointing put wrappers around modules.
    """
    return '.'.join(part for part in name.split('.') if part not in _WRAPPERS)


def split_rows(*targets: str) -> TensorMap:
    r"""Cut a tensor into equal blocks of rows.

    Args:
        *targets (str): Templates of the new names, one for each block.

    Returns:
        TensorMap: Action for a table.
    """

    def split(match: re.Match, tensor: Tensor) -> dict[str, Tensor]:
        if len(tensor) % len(targets):
            raise InputError(
                f'{match.string} has {len(tensor)} rows, which cannot be cut '
                f'into {len(targets)} equal blocks'
            )
        size = len(tensor) // len(targets)
        return {
            match.expand(target): tensor[i * size : (i + 1) * size].clone()
            for i, target in enumerate(targets)
        }

    return split


def map_tensor(target: str, function: Callable[[Tensor], Tensor]) -> TensorMap:
    r"""Rename and change a tensor.

    Args:
        target (str): Template of the new name.
        function (Callable[[Tensor], Tensor]): Change of the tensor.

    Returns:
        TensorMap: Action for a table.
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
