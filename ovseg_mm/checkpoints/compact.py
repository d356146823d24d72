# SPDX-License-Identifier: Apache-2.0
"""Compact files of tiny CLIPs.

Most of a tiny CLIP is its table of 49408 token embeddings, of which a toy
vocabulary uses a few. A compact file stores these rows and the random seed of
the others.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ovseg_mm.utils.errors import InputError

_TABLE = 'token_embedding.weight'
_PREFIX = 'token_embedding.'


def random_token_table(
    vocab_size: int, width: int, seed: int, std: float
) -> Tensor:
    """Draw random token embeddings that are the same on every machine.

    They come from ``numpy.random.RandomState``, which gives the same numbers
    in all versions of NumPy. Numbers of torch may differ between versions and
    processors.

    Args:
        vocab_size (int): Number of rows.
        width (int): Number of columns W.
        seed (int): Seed in [0, 2**32).
        std (float): Standard deviation.

    Returns:
        Tensor: (vocab_size, W), float32.
    """
    rng = np.random.RandomState(seed)
    table = rng.standard_normal((vocab_size, width)) * std
    return torch.from_numpy(table.astype(np.float32))


def compact_clip(
    state_dict: Mapping[str, Tensor],
    used_ids: Sequence[int],
    seed: int,
    std: float,
    dtype: torch.dtype = torch.float16,
) -> dict[str, Tensor]:
    """Replace the token table of a CLIP by the rows that are used.

    The rows that are left out must be equal to the rows of
    ``random_token_table(vocab_size, W, seed, std)``. They are if the training
    starts from that table and has no weight decay on it.

    Args:
        state_dict (Mapping[str, Tensor]): Whole CLIP as
            :func:`~ovseg_mm.checkpoints.load_clip_weights` gives it.
        used_ids (Sequence[int]): Token ids whose rows are kept.
        seed (int): Seed of the table before training.
        std (float): Standard deviation of the table before training.
        dtype (torch.dtype): Stored type of floating-point tensors.

    Returns:
        dict[str, Tensor]: Tensors of a compact file, to be saved as
        ``.safetensors`` or with ``torch.save``.

    Raises:
        InputError: If an id is outside the table.
    """
    table = state_dict[_TABLE]
    ids = torch.tensor(sorted(set(map(int, used_ids))), dtype=torch.int64)
    if not len(ids) or ids[0] < 0 or ids[-1] >= len(table):
        raise InputError(
            f'used_ids must be ids in [0, {len(table)}), found '
            f'{ids.tolist()[:1]} to {ids.tolist()[-1:]}'
        )
    compact = {
        name: tensor.detach().to(dtype).contiguous()
        for name, tensor in state_dict.items()
        if name != _TABLE
    }
    compact[f'{_PREFIX}rows'] = table.detach()[ids].to(dtype)
    compact[f'{_PREFIX}ids'] = ids
    compact[f'{_PREFIX}vocab_size'] = torch.tensor(len(table))
    compact[f'{_PREFIX}seed'] = torch.tensor(seed, dtype=torch.int64)
    compact[f'{_PREFIX}std'] = torch.tensor(std, dtype=torch.float64)
    return compact


def expand_clip(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo :func:`compact_clip`, up to the precision of the stored dtype.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of a compact file.

    Returns:
        dict[str, Tensor]: Tensors with the whole ``token_embedding.weight``,
        float32; other tensors as they were stored.

    Raises:
        InputError: If a part of the token table is missing or misfits.
    """
    expanded = dict(state_dict)
    parts = {}
    for key in ('rows', 'ids', 'vocab_size', 'seed', 'std'):
        if _PREFIX + key not in expanded:
            raise InputError(
                f'the compact CLIP has no {_PREFIX}{key}, which its token '
                'table is made from'
            )
        parts[key] = expanded.pop(_PREFIX + key)
    rows, ids = parts['rows'], parts['ids']
    vocab_size = int(parts['vocab_size'])
    if len(rows) != len(ids) or not 0 <= int(ids.min()) <= int(ids.max()) < (
        vocab_size
    ):
        raise InputError(
            f'the compact CLIP has {len(rows)} token rows for {len(ids)} ids '
            f'in [{int(ids.min())}, {int(ids.max())}] of a table of '
            f'{vocab_size}'
        )
    table = random_token_table(
        vocab_size, rows.shape[1], int(parts['seed']), float(parts['std'])
    )
    table[ids] = rows.float()
    expanded[_TABLE] = table
    return expanded
