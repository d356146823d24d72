# SPDX-License-Identifier: Apache-2.0
"""Compact files of tiny CLIPs.

Most parameters of a tiny CLIP are its 49408 token embeddings. They start as
random numbers, and training on a small vocabulary changes only a few of them.
A compact file stores the changed embeddings, and the random seed from which
the unchanged embeddings are drawn again.
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

    ``numpy.random.RandomState`` draws the embeddings, because its numbers are
    the same in all versions of NumPy. Random numbers of torch may differ
    between versions and processors.

    Args:
        vocab_size (int): Number of tokens.
        width (int): Width of an embedding.
        seed (int): Random seed in [0, 2**32).
        std (float): Standard deviation of the embeddings.

    Returns:
        Tensor: Token embeddings, (vocab_size, width), float32.
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
    """Remove the token embeddings that the training of a CLIP did not change.

    All other weights are kept. :func:`expand_clip` draws the removed
    embeddings again with :func:`random_token_table`. The drawn embeddings are
    correct only if the training started from the result of
    :func:`random_token_table`, with the same seed and standard deviation, and
    used no weight decay for the token embeddings. ``compact_clip`` does not
    check this.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of the whole CLIP, as
            :func:`~ovseg_mm.checkpoints.load_clip_weights` returns them.
        used_ids (Sequence[int]): Ids of the tokens in the training texts,
            whose embeddings are kept.
        seed (int): Random seed of the embeddings before training.
        std (float): Standard deviation of the embeddings before training.
        dtype (torch.dtype): Dtype in which all weights are stored.

    Returns:
        dict[str, Tensor]: Tensors of the compact file, to be saved as
        ``.safetensors`` or with ``torch.save``.

    Raises:
        InputError: If there are no ids, or an id is not in the vocabulary.
    """
    table = state_dict[_TABLE]
    ids = torch.tensor(sorted(set(map(int, used_ids))), dtype=torch.int64)
    if not len(ids) or ids[0] < 0 or ids[-1] >= len(table):
        found = f'ids from {ids[0]} to {ids[-1]}' if len(ids) else 'no ids'
        raise InputError(
            f'used_ids has {found}, expected token ids in [0, {len(table)}); '
            'set it to the ids of the tokens in the training texts'
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
    """Restore the tensors of a CLIP from a compact file.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of the compact file, made
            by :func:`compact_clip`.

    Returns:
        dict[str, Tensor]: Tensors of the CLIP. The embeddings of all tokens,
        ``token_embedding.weight``, are float32. All other tensors have the
        dtype of the file.

    Raises:
        InputError: If a tensor needed for the token embeddings is missing, if
            the number of ids differs from the number of stored embeddings, or
            if an id is not in the vocabulary.
    """
    expanded = dict(state_dict)
    parts = {}
    for key in ('rows', 'ids', 'vocab_size', 'seed', 'std'):
        if _PREFIX + key not in expanded:
            raise InputError(
                f'the CLIP file has no {_PREFIX}{key}, a tensor needed to '
                'restore the token embeddings; download or write the file '
                'again'
            )
        parts[key] = expanded.pop(_PREFIX + key)
    rows, ids = parts['rows'], parts['ids']
    vocab_size = int(parts['vocab_size'])
    if len(rows) != len(ids) or not 0 <= int(ids.min()) <= int(ids.max()) < (
        vocab_size
    ):
        raise InputError(
            f'the CLIP file has {len(rows)} token embeddings and {len(ids)} '
            f'token ids in [{int(ids.min())}, {int(ids.max())}], expected one '
            f'embedding for each id and ids below {vocab_size}; download or '
            'write the file again'
        )
    table = random_token_table(
        vocab_size, rows.shape[1], int(parts['seed']), float(parts['std'])
    )
    table[ids] = rows.float()
    expanded[_TABLE] = table
    return expanded
