# SPDX-License-Identifier: Apache-2.0
"""CLIP's image tower, text tower and attention, without optimisations.

Letters: B images, H x W pixels, N tokens, D width of the transformer, A heads,
d width of a head, n prompts, C embedding width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovseg_mm.models.backbones import CLIPViT
from ovseg_mm.models.layers.clip_transformer import CLIPAttention, CLIPBlock
from ovseg_mm.models.text_encoder import tokenize_prompts
from ovseg_mm.structures import CLIPFeatures

# Number of prompts that are encoded at a time without gradients.
PROMPTS_AT_A_TIME = 256


def image_tower(
    tower: Any, img: Tensor, replacements: Any = None, dense: bool = True
) -> CLIPFeatures:
    """Encode images, and compute all tokens even if only some are needed.

    Args:
        tower (CLIPViT): Tower whose weights and options are used.
        img (Tensor): Normalised images, (B, 3, H, W).
        replacements (Replacements, optional): Patch tokens to replace after
            some blocks, see :class:`CLIPViT`.
        dense (bool): Not used. Patch embeddings are always computed.

    Returns:
        CLIPFeatures: Embeddings of the patches and of the images.
    """
    return CLIPViT.forward(tower, img, replacements, dense=True)


def block(
    block: Any,
    x: Tensor,
    is_causal: bool = False,
    value_residual: Tensor | None = None,
    num_queries: int | None = None,
) -> Tensor:
    """Apply attention and MLP to all tokens, even if few are returned.

    Args:
        block (CLIPBlock): Block whose weights are used.
        x (Tensor): Tokens, (B, N, D).
        is_causal (bool): Whether tokens attend to earlier tokens only.
        value_residual (Tensor, optional): Residual of the attention, see
            :class:`CLIPBlock`.
        num_queries (int, optional): Number of first tokens to return. None:
            all tokens.

    Returns:
        Tensor: Output tokens, (B, N or num_queries, D).
    """
    out = CLIPBlock.forward(block, x, is_causal, value_residual)
    return out[:, :num_queries]


def quick_gelu(activation: nn.Module, x: Tensor) -> Tensor:
    """Return ``x * sigmoid(1.702 x)``; ``activation`` is not used."""
    return x * torch.sigmoid(1.702 * x)


def value_path(attention: CLIPAttention, x: Tensor) -> Tensor:
    """Apply the value and output projections of an attention layer.

    As in CAT-Seg's code, queries and keys are projected too, although the
    result does not depend on them.

    Args:
        attention (CLIPAttention): Attention whose weights are used.
        x (Tensor): Normalised tokens, (B, N, D).

    Returns:
        Tensor: Tokens after the output projection, (B, N, D).
    """
    biases = attention.in_proj_bias.chunk(3)
    *_, value = (
        attention.out_proj(
            F.linear(x, getattr(attention, f'{name}_proj_weight'), bias)
        )
        for name, bias in zip('qkv', biases)
    )
    return value


def attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Softmax attention without PyTorch's fused operator.

    Args:
        q (Tensor): Queries, (B, A, N, d).
        k (Tensor): Keys, (B, A, N, d).
        v (Tensor): Values, (B, A, N, d).
        bias (Tensor, optional): Term added to the scores before the softmax,
            (N, N).

    Returns:
        Tensor: Values after attention, (B, A, N, d).
    """
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    return scores.softmax(dim=-1) @ v


def encode_prompts(encoder: Any, prompts: list[str]) -> tuple[Tensor, str]:
    """Encode prompts, padded to the context length of the text tower.

    Args:
        encoder (nn.Module): Text tower, which turns token ids into embeddings.
        prompts (list[str]): The n prompts.

    Returns:
        tuple[Tensor, str]: Embeddings of the prompts, (n, C); and an empty
        string, in place of the optimised code's warning about cut prompts.
    """
    tokens = tokenize_prompts(prompts, encoder.context_length)
    tokens = F.pad(tokens, (0, encoder.context_length - tokens.shape[1]))
    tokens = tokens.to(next(encoder.parameters()).device)
    if torch.is_grad_enabled():
        return encoder(tokens), ''
    parts = tokens.split(PROMPTS_AT_A_TIME)
    return torch.cat([encoder(part).float() for part in parts]), ''
