# SPDX-License-Identifier: Apache-2.0
"""The transformer that matches class queries with an image.

Letters: B images, T class texts, N patches, E width of queries and patch
embeddings.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovseg_mm.inference import in_float32


class MatchingDecoder(nn.Module):
    """Computes class logits at each patch of one feature map.

    In each layer, class queries attend to the patches, but not to each other.
    The last layer computes only attention logits. These are the class logits.

    Args:
        embed_dims (int): Width E of queries and patches.
        num_layers (int): Number of layers, including the last layer.
        num_heads (int): Number of attention heads.
        dropout (float): Dropout probability.
    """

    def __init__(
        self, embed_dims: int, num_layers: int, num_heads: int, dropout: float
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(
                f'embed_dims={embed_dims} is not divisible by '
                f'num_heads={num_heads}; change num_heads'
            )
        first = MatchingLayer(embed_dims, num_heads, dropout)
        # All layers start with equal weights, as in PyTorch's transformer.
        self.layers = nn.ModuleList(
            deepcopy(first) for _ in range(num_layers - 1)
        )
        self.similarity = deepcopy(first.similarity)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights; float32 if the weights are quantised."""
        return next(self.parameters(), torch.empty(0)).dtype

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Compute the logits of all classes at each patch.

        Args:
            queries (Tensor): Queries of T classes, (B, T, E).
            patches (Tensor): Embeddings of N patches, (B, N, E).

        Returns:
            Tensor: Logits, (B, T, N).
        """
        for layer in self.layers:
            queries = layer(queries, patches)
        return self.similarity(queries, patches)


class Similarity(nn.Module):
    """Attention logits of queries and patches, averaged over the heads.

    Args:
        embed_dims (int): Width E of queries and patches.
        num_heads (int): Number of heads.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(embed_dims, embed_dims)
        self.k = nn.Linear(embed_dims, embed_dims)

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Compute the attention logits of each head, and average them.

        No softmax is applied. The channels are not split into heads, because
        the inner product over all E channels is the sum of the inner products
        of the heads. Divided by the number of heads, this sum is the mean.

        Args:
            queries (Tensor): Queries of T classes, (B, T, E).
            patches (Tensor): Embeddings of N patches, (B, N, E).

        Returns:
            Tensor: Attention logits, mean over the heads, (B, T, N).
        """
        q, k = self.q(queries), self.k(patches)
        heads, width = self.num_heads, q.shape[-1]
        scale = (width / heads) ** -0.5 / heads
        return _products(scale * q, k)


@in_float32
def _products(q: Tensor, k: Tensor) -> Tensor:
    """Inner products (B, T, N) of T queries (B, T, E) and N keys (B, N, E)."""
    return q @ k.transpose(1, 2)


class MatchingLayer(nn.Module):
    """Cross-attention from queries to patches, and an MLP.

    A residual connection and a LayerNorm follow the attention, and also follow
    the MLP.

    Args:
        embed_dims (int): Width E of queries and patches.
        num_heads (int): Number of attention heads.
        dropout (float): Dropout probability.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.similarity = Similarity(embed_dims, num_heads)
        self.v = nn.Linear(embed_dims, embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.attn_norm = nn.LayerNorm(embed_dims)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dims, 4 * embed_dims),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4 * embed_dims, embed_dims),
        )
        self.mlp_norm = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Update T queries (B, T, E) by attention to N patches (B, N, E)."""
        q, k, v = (
            x.unflatten(-1, (self.similarity.num_heads, -1)).transpose(1, 2)
            for x in (
                self.similarity.q(queries),
                self.similarity.k(patches),
                self.v(patches),
            )
        )
        attended = F.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout.p if self.training else 0.0
        )
        attended = self.proj(attended.transpose(1, 2).flatten(2))
        queries = self.attn_norm(queries + self.dropout(attended))
        return self.mlp_norm(queries + self.dropout(self.mlp(queries)))
