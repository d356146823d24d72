# SPDX-License-Identifier: Apache-2.0
"""Token ids and embeddings of prompts.

Letters: n prompts, N tokens of the longest prompt, C width of the embeddings.
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
    """Convert prompts to token ids.

    If a prompt has more tokens than ``context_length``, it is truncated, and a
    warning is shown. A truncated prompt keeps its end token.

    Args:
        prompts (list[str]): The n prompts.
        context_length (int): Maximum number of tokens of a prompt.

    Returns:
        Tensor: Token ids, (n, N) int64, where N is the length of the longest
        prompt, at most ``context_length``.
    """
    tokens, message = _tokenize(tuple(prompts), context_length)
    if message:
        warnings.warn(message, UserWarning, stacklevel=2)
    return tokens


# Cached, because all training iterations have the same prompts.
@lru_cache(maxsize=4)
def _tokenize(
    prompts: tuple[str, ...], context_length: int
) -> tuple[Tensor, str]:
    """Token ids, (n, N) int64, and a warning if prompts were truncated.

    The warning is ``''`` if no prompt was truncated.
    """
    # With one token more than the tower takes, long prompts are found.
    tokens = tokenize(list(prompts), context_length + 1).long()
    too_long = tokens[:, -1] != 0
    message = ''
    if too_long.any():
        named = [p for p, cut in zip(prompts, too_long.tolist()) if cut]
        message = shortened(
            f'{len(named)} prompts are longer than the {context_length} '
            'tokens that the text encoder takes and are truncated: '
            f'{named[0]!r}' + (', ...' if len(named) > 1 else '')
        )
        tokens = tokenize(list(prompts), context_length).long()
    longest = int(tokens.argmax(dim=1).max()) + 1
    return tokens[:, :longest].clone(), message


def encode_prompts(
    encoder: nn.Module, prompts: list[str]
) -> tuple[Tensor, str]:
    """Compute the embeddings of prompts; equal prompts are encoded once.

    Args:
        encoder (nn.Module): Text tower.
        prompts (list[str]): The n prompts.

    Returns:
        tuple[Tensor, str]: Embeddings, (n, C), not normalised; and a warning
        about prompts that were truncated, ``''`` if no prompt was truncated.
    """
    unique = list(dict.fromkeys(prompts))
    tokens, message = _tokenize(tuple(unique), encoder.context_length)
    lengths = tokens.argmax(dim=1) + 1
    device = next(encoder.parameters()).device
    if torch.is_grad_enabled():
        encoded = encoder(tokens.to(device))
    else:
        # Prompts of similar length share a batch, which needs fewer tokens.
        order = lengths.argsort()
        batches = list(order.split(ENCODE_BATCH))
        if len(batches) > 1 and get_dist_info()[0] == 0:
            print(f'Encoding {len(unique)} prompts')
            batches = track_iter_progress(batches)
        # Attributes of nn.Module have the type "Tensor or Module".
        shape = len(unique), cast(int, encoder.embed_dims)
        encoded = torch.empty(shape, device=device)
        for batch in batches:
            ids = tokens[batch, : int(lengths[batch].max())]
            encoded[batch.to(device)] = encoder(ids.to(device)).float()
    index = {prompt: row for row, prompt in enumerate(unique)}
    if len(unique) < len(prompts):
        encoded = encoded[[index[prompt] for prompt in prompts]]
    return encoded, message
