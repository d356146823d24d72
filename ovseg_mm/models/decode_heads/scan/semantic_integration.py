# SPDX-License-Identifier: Apache-2.0
"""SCAN's semantic integration module.

Letters: B images, D decoder outputs that training computes a loss for (1 in
evaluation), Q proposals, L CLIP blocks whose tokens are used, N patches in a
square grid, V width of the image tower, C embedding width.
"""

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovseg_mm.structures import ImageContext

# Initial value of the learned weight of the image embedding.
CONTEXT_WEIGHT = 0.1


class SemanticIntegration(nn.Module):
    """Adds CLIP's features of the whole image to proposal embeddings.

    1. A :class:`FrequencyFilter` filters the patch tokens of some CLIP blocks.
    2. In cross-attention layers, the proposals attend to the patch tokens.
    3. CLIP's embedding of the image (from the class token) is added to each
       proposal, with a learned weight.
    4. Encoder layers transform each proposal, without attention between
       proposals.

    Args:
        in_channels (int): Width V of CLIP's tokens.
        embed_dims (int): Width C of the embeddings.
        blocks (Sequence[int]): Indices of the CLIP blocks, counted from 0,
            whose tokens are used.
        sigmas (Sequence[float]): One number for each block: ``sigma`` of
            :meth:`FrequencyFilter.forward`.
        num_heads (int): Number of attention heads.
        num_fusion_layers (int): Number of cross-attention layers.
        num_encoder_layers (int): Number of encoder layers.
        feedforward_dims (int): Hidden width of the encoder's MLPs.
        dropout (float): Dropout probability in the encoder.
    """

    def __init__(
        self,
        in_channels: int = 1024,
        embed_dims: int = 768,
        blocks: Sequence[int] = (11, 17, 23),
        sigmas: Sequence[float] = (9, 7, 3),
        num_heads: int = 8,
        num_fusion_layers: int = 5,
        num_encoder_layers: int = 5,
        feedforward_dims: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if len(blocks) != len(sigmas):
            raise ValueError(
                f'integration.blocks has {len(blocks)} blocks, but '
                f'integration.sigmas has {len(sigmas)} numbers; set one sigma '
                'for each block'
            )
        self.blocks = tuple(blocks)
        self.sigmas = tuple(sigmas)
        self.filter = FrequencyFilter(in_channels)
        # No activation in between, like the published weights.
        self.memory_proj = nn.Sequential(
            nn.Linear(in_channels, embed_dims),
            nn.Linear(embed_dims, embed_dims),
        )
        self.attentions = nn.ModuleList(
            nn.MultiheadAttention(embed_dims, num_heads, batch_first=True)
            for _ in range(num_fusion_layers)
        )
        self.norms = nn.ModuleList(
            nn.LayerNorm(embed_dims) for _ in range(num_fusion_layers - 1)
        )
        self.context_weight = nn.Parameter(torch.full((1,), CONTEXT_WEIGHT))
        # Copies of one layer, so all start with equal weights, as in
        # nn.TransformerEncoder.
        layer = LoneTokenLayer(
            embed_dims, num_heads, feedforward_dims, dropout
        )
        self.encoder = nn.Sequential(
            *(copy.deepcopy(layer) for _ in range(num_encoder_layers))
        )

    def forward(self, embeddings: Tensor, context: ImageContext) -> Tensor:
        """Add image features to embeddings of proposals.

        Args:
            embeddings (Tensor): Embeddings of Q proposals, from D decoder
                outputs, (D, B, Q, C).
            context (ImageContext): CLIP's features of the images. It must
                contain the tokens of the CLIP blocks in :attr:`blocks`.

        Returns:
            Tensor: New embeddings, (D, B, Q, C), not normalised.
        """
        states = len(embeddings)
        memory = self.memory(context)
        # Proposals do not attend to each other: one call for all D outputs.
        x = embeddings.transpose(0, 1).flatten(1, 2)  # (B, D * Q, C)
        x = self.fuse(x, memory)
        image = F.normalize(context.embedding, dim=1)
        x = self.encoder(x + self.context_weight * image[:, None])
        return x.unflatten(1, (states, -1)).transpose(0, 1)

    def memory(self, context: ImageContext) -> Tensor:
        """Compute the keys and values of the cross-attention, (B, L * N, C).

        These are the tokens of the N patches after each of the L CLIP blocks,
        filtered and projected.
        """
        tokens = [
            self.filter(context.tokens[block][:, 1:], sigma)
            for block, sigma in zip(self.blocks, self.sigmas)
        ]
        return self.memory_proj(torch.cat(tokens, dim=1))

    def fuse(self, x: Tensor, memory: Tensor) -> Tensor:
        """Apply the cross-attention layers.

        Args:
            x (Tensor): Embeddings of Q proposals, from D decoder outputs, (B,
                D * Q, C).
            memory (Tensor): Keys and values, the result of :meth:`memory`.

        Returns:
            Tensor: Embeddings after attention, (B, D * Q, C).
        """
        for index, attention in enumerate(self.attentions):
            x = x + attention(x, memory, memory, need_weights=False)[0]
            if index < len(self.norms):
                x = self.norms[index](x)
        return x


class FrequencyFilter(nn.Module):
    """Filters the map of patch tokens in the frequency domain.

    The spectrum of the map is not shifted, so high frequencies are in the
    middle. It is multiplied by 1 minus a Gaussian around the middle, which
    reduces high frequencies. Then two 1x1 convolutions mix the channels of the
    spectrum. The filtered map is added to the tokens (residual connection).

    Args:
        channels (int): Width V of the tokens.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 1)

    def forward(self, tokens: Tensor, sigma: float) -> Tensor:
        """Filter tokens.

        Args:
            tokens (Tensor): Tokens of the N patches of a square grid, row by
                row, (B, N, V).
            sigma (float): Standard deviation of the Gaussian, in frequency
                bins of the spectrum.

        Returns:
            Tensor: Filtered tokens, (B, N, V).
        """
        side = math.isqrt(int(tokens.shape[1]))
        # FFTs of reduced precision exist on few devices and for few sizes.
        x = tokens.float().transpose(1, 2).unflatten(2, (side, side))
        spectrum = torch.fft.fft2(x) * _notch(side, sigma, x.device)
        parts = torch.cat([spectrum.real, spectrum.imag], dim=1)
        parts = parts.to(self.conv1.weight.dtype)
        parts = self.conv2(F.relu(self.conv1(parts))).float()
        spectrum = torch.complex(*parts.chunk(2, dim=1))
        x = x + torch.fft.ifft2(spectrum).real
        return x.flatten(2).transpose(1, 2).to(tokens.dtype)


class LoneTokenLayer(nn.Module):
    """Post-norm transformer layer in which a token attends only to itself.

    The attention of a token to itself alone returns the value of this token.
    Queries and keys have no effect, so the layer has none. Initial weights
    have the distribution of :class:`torch.nn.TransformerEncoderLayer`.

    Args:
        embed_dims (int): Width C of the tokens.
        num_heads (int): Number of attention heads. Dropout sets all channels
            of a head to zero together.
        feedforward_dims (int): Hidden width of the MLP.
        dropout (float): Dropout probability of heads, hidden channels and
            residual branches.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_dims: int,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.value = nn.Linear(embed_dims, embed_dims)
        self.out_proj = nn.Linear(embed_dims, embed_dims)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dims, feedforward_dims),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(feedforward_dims, embed_dims),
        )
        self.norm2 = nn.LayerNorm(embed_dims)
        self.dropout = nn.Dropout(dropout)
        # A third of a packed (3 * C, C) projection, whose Xavier bound is
        # smaller than that of (C, C) by the square root of two.
        nn.init.xavier_uniform_(self.value.weight, gain=0.5**0.5)
        nn.init.zeros_(self.value.bias)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to tokens of shape (..., C)."""
        value = self.value(x)
        if self.training:
            heads = value.unflatten(-1, (self.num_heads, -1))
            kept = self.dropout(torch.ones_like(heads[..., :1]))
            value = (heads * kept).flatten(-2)
        x = self.norm1(x + self.dropout(self.out_proj(value)))
        return self.norm2(x + self.dropout(self.mlp(x)))


def _notch(side: int, sigma: float, device: torch.device) -> Tensor:
    """Factors of the filter: 1 minus a centred Gaussian, (side, side)."""
    distances = (torch.arange(side, device=device) - side // 2) ** 2
    distances = distances[:, None] + distances
    return 1 - torch.exp(-distances / (2 * sigma**2))
