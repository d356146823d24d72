# SPDX-License-Identifier: Apache-2.0
"""From prompts to token ids and embeddings.

Letters: n prompts, N tokens of the longest one, C embedding width.
"""

import warnings
from functools import lru_cache
from typing import cast

import torch
from mmengine.dist import get_dist_info
from mmengine.utils import track_iter_progress
from mmseg.utils.tokenizer import tokenize
from torch import Tensor, nn

from ovseg_mm.utils.errors import shortened

# Prompts encoded at once; limits the memory and does not change results.
ENCODE_BATCH = 256


def tokenize_prompts(prompts: list[str], context_length: int) -> Tensor:
    """Token ids of prompts, cut to the longest one.

    Args:
        prompts (list[str]): n texts.
        context_length (int): Positions of the text tower.

    Returns:
        Tensor: (n, N) int64 with N at most ``context_length``. A prompt that
        does not fit is cut with a warning; it keeps its end token.
    """
    tokens, message = _tokenize(tuple(prompts), context_length)
    if message:
        warnings.warn(message, UserWarning, stacklevel=2)
    return tokens


# Cached, since each training iteration has the same prompts.
@lru_cache(maxsize=4)
def _tokenize(
    prompts: tuple[str, ...], context_length: int
) -> tuple[Tensor, str]:
    """Token ids, and a message that names the prompts that are cut."""
    # One position more than the tower has shows which prompts do not fit.
    tokens = tokenize(list(prompts), context_length + 1).long()
    too_long = tokens[:, -1] != 0
    message = ''
    if too_long.any():
        named = [p for p, cut in zip(prompts, too_long.tolist()) if cut]
        message = shortened(
            f'{len(named)} prompts are longer than the {context_length} '
            f'tokens that the text encoder takes and are cut: {named[0]!r}'
            + (', ...' if len(named) > 1 else '')
        )
        tokens = tokenize(list(prompts), context_length).long()
    longest = int(tokens.argmax(dim=1).max()) + 1
    return tokens[:, :longest].clone(), message


def encode_prompts(
    encoder: nn.Module, prompts: list[str]
) -> tuple[Tensor, str]:
    """Embeddings (n, C) of prompts, and the message of :func:`_tokenize`.

    Equal prompts are encoded once.
    """
    unique = list(dict.fromkeys(prompts))
    tokens, message = _tokenize(tuple(unique), encoder.context_length)
    lengths = tokens.argmax(dim=1) + 1
    device = next(encoder.parameters()).device
    if torch.is_grad_enabled():
        encoded = encoder(tokens.to(device))
    else:
        # Sorted by length, a batch is cut to its own longest prompt.
        order = lengths.argsort()
        batches = list(order.split(ENCODE_BATCH))
        if len(batches) > 1 and get_dist_info()[0] == 0:
            print(f'Encoding {len(unique)} prompts')
            batches = track_iter_progress(batches)
        # nn.Module types attributes as tensors or modules.
        shape = len(unique), cast(int, encoder.embed_dims)
        encoded = torch.empty(shape, device=device)
        for batch in batches:
            ids = tokens[batch, : int(lengths[batch].max())]
            encoded[batch.to(device)] = encoder(ids.to(device)).float()
    index = {prompt: row for row, prompt in enumerate(unique)}
    if len(unique) < len(prompts):
        encoded = encoded[[index[prompt] for prompt in prompts]]
    return encoded, message
