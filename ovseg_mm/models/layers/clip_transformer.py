# SPDX-License-Identifier: Apache-2.0
"""The transformer of CLIP's image tower and of CLIP's text tower.

Letters: B batch size, N tokens, W width of the transformer.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils import apply_layers, apply_linear, linear, recomputed


class QuickGELU(nn.Module):
    """OpenAI's approximation of GELU, ``x * sigmoid(1.702 x)``."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return recomputed(_quick_gelu, x)


class CLIPAttention(nn.Module):
    """Multi-head self-attention with separate weights of q, k and v.

    Separate weights can be trained or frozen one by one. Parameters have the
    names of ``torch.nn.MultiheadAttention``. As in that class, one parameter
    holds the biases of q, k and v.

    Args:
        embed_dims (int): Width W of the tokens, divisible by ``num_heads``.
        num_heads (int): Number of heads.
    """

    q_proj_weight: nn.Parameter
    k_proj_weight: nn.Parameter
    v_proj_weight: nn.Parameter

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(
                f'embed_dims={embed_dims} is not divisible by '
                f'num_heads={num_heads}; change num_heads'
            )
        self.num_heads = num_heads
        for name in ('q_proj_weight', 'k_proj_weight', 'v_proj_weight'):
            weight = nn.Parameter(torch.empty(embed_dims, embed_dims))
            nn.init.normal_(weight, std=embed_dims**-0.5)
            self.register_parameter(name, weight)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dims))
        self.out_proj = nn.Linear(embed_dims, embed_dims)

    def forward(
        self,
        x: Tensor,
        is_causal: bool = False,
        num_queries: int | None = None,
    ) -> Tensor:
        """Apply self-attention.

        Args:
            x (Tensor): N normalised tokens of width W, (B, N, W).
            is_causal (bool): Whether a token attends only to itself and to
                earlier tokens.
            num_queries (int, optional): Number of tokens, counted from the
                first, whose outputs are computed. They attend to all tokens.
                None: all N tokens.

        Returns:
            Tensor: Output tokens, (B, N or num_queries, W).
        """
        if num_queries == 1 and not is_causal:
            return self._of_first(x)
        k, v = self.heads(x, 'kv')
        (q,) = self.heads(x[:, :num_queries], 'q')
        return self.merge(
            F.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
        )

    def heads(self, x: Tensor, names: str = 'qkv') -> tuple[Tensor, ...]:
        """Compute queries, keys and values of all heads.

        Args:
            x (Tensor): N normalised tokens of width W, (B, N, W).
            names (str): Letters of the tensors to compute, in the order of
                the result: q (queries), k (keys), v (values).

        Returns:
            tuple[Tensor, ...]: One tensor for each letter, (B, heads, N, W /
            heads) each.
        """
        biases = dict(zip('qkv', self.in_proj_bias.chunk(3)))
        return tuple(
            linear(x, getattr(self, f'{name}_proj_weight'), biases[name])
            .unflatten(-1, (self.num_heads, -1))
            .transpose(1, 2)
            for name in names
        )

    def _of_first(self, x: Tensor) -> Tensor:
        """Attention output, (B, 1, W), of the first token of x, (B, N, W).

        The keys and values of the tokens are not computed. Let K and V be the
        weight matrices of keys and values, and q the query of the first token.
        Then q (K x) = (q K) x, and a weighted mean of V x is V times the
        weighted mean of x. The bias of the keys adds the same number to all
        attention logits, so it has no effect.
        """
        k, v = (
            weight.unflatten(0, (self.num_heads, -1))
            for weight in (self.k_proj_weight, self.v_proj_weight)
        )  # (heads, W / heads, W)
        (q,) = self.heads(x[:, :1], 'q')
        # The query of each head is one of several queries of a single head.
        q = q.squeeze(2).transpose(0, 1) @ k
        means = F.scaled_dot_product_attention(
            q.transpose(0, 1), x, x, scale=k.shape[1] ** -0.5
        )
        out = means.transpose(0, 1) @ v.transpose(1, 2)
        out = out.transpose(0, 1).flatten(1) + self.in_proj_bias.chunk(3)[2]
        return self.out_proj(out[:, None])

    def merge(self, x: Tensor) -> Tensor:
        """Join heads (B, heads, N, W / heads) and project to (B, N, W)."""
        return apply_linear(self.out_proj, x.transpose(1, 2).flatten(2))

    def value(self, x: Tensor) -> Tensor:
        """Attention output, (B, N, W), if tokens attend only to themselves.

        The tokens x are (B, N, W).
        """
        v_bias = self.in_proj_bias.chunk(3)[2]
        return apply_linear(
            self.out_proj, linear(x, self.v_proj_weight, v_bias)
        )


class CLIPBlock(nn.Module):
    """Pre-norm transformer block: self-attention and MLP with residuals.

    Args:
        embed_dims (int): Width W of the tokens.
        num_heads (int): Number of heads.
        mlp_dims (int): Hidden width of the MLP.
        quick_gelu (bool): Whether the activation is :class:`QuickGELU`, which
            OpenAI's weights need. False: GELU.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        mlp_dims: int,
        quick_gelu: bool,
    ) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(embed_dims)
        self.attn = CLIPAttention(embed_dims, num_heads)
        self.ln_2 = nn.LayerNorm(embed_dims)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(embed_dims, mlp_dims),
                gelu=QuickGELU() if quick_gelu else nn.GELU(),
                c_proj=nn.Linear(mlp_dims, embed_dims),
            )
        )

    def forward(
        self,
        x: Tensor,
        is_causal: bool = False,
        value_residual: Tensor | None = None,
        num_queries: int | None = None,
    ) -> Tensor:
        """Apply attention and MLP.

        Args:
            x (Tensor): N tokens of width W, (B, N, W).
            is_causal (bool): Whether a token attends only to itself and to
                earlier tokens.
            value_residual (Tensor, optional): Tensor that replaces ``x`` in
                the residual connection of the attention, (B, N or 1, W). If it
                is given, each token attends only to itself. None: CLIP's
                attention.
            num_queries (int, optional): Number of tokens, counted from the
                first, whose outputs are computed. They attend to all tokens.
                None: all N tokens.

        Returns:
            Tensor: Output tokens, (B, N or num_queries, W).
        """
        if value_residual is None:
            attended = self.attn(self.ln_1(x), is_causal, num_queries)
            x = x[:, :num_queries] + attended
        else:
            x = self.attn.value(self.ln_1(x)) + value_residual

        def mlp(x: Tensor) -> Tensor:
            return apply_layers(self.mlp, self.ln_2(x))

        # Only text towers are causal. They train on all class texts at once,
        # whose hidden layers would need much memory.
        return x + (recomputed(mlp, x) if is_causal else mlp(x))


class CLIPTransformer(nn.Module):
    """A stack of :class:`CLIPBlock`, with CLIP's parameter names.

    Args:
        embed_dims (int): Width W of the tokens.
        num_layers (int): Number of blocks.
        num_heads (int): Number of heads.
        mlp_ratio (float): Hidden width of the MLPs, as a multiple of W.
        quick_gelu (bool): Whether the activation is :class:`QuickGELU`. False:
            GELU.
    """

    def __init__(
        self,
        embed_dims: int,
        num_layers: int,
        num_heads: int,
        mlp_ratio: float,
        quick_gelu: bool,
    ) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(
            CLIPBlock(
                embed_dims, num_heads, int(embed_dims * mlp_ratio), quick_gelu
            )
            for _ in range(num_layers)
        )


def _quick_gelu(x: Tensor) -> Tensor:
    return x * (1.702 * x).sigmoid_()
