# SPDX-License-Identifier: Apache-2.0
"""CLIP's text tower.

Letters: T texts, N tokens of the longest text, W width of the tower, C width
of the embeddings.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.checkpoints import clip_arch

from ..layers import CLIPTransformer
from ..utils import freeze_except


@MODELS.register_module()
class CLIPTextTransformer(BaseModule):
    """CLIP's text tower, which turns token ids into text embeddings.

    Args:
        arch (str | dict): Name of a model config of open_clip, or such a
            config.
        pretrained (str, optional): open_clip's tag of the weights. It decides
            the activation (QuickGELU for ``'openai'``). The model that
            owns the tower loads the weights, not this constructor.
        finetune (str | Sequence[str]): Parameters to train, see
            :func:`freeze_except`.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    def __init__(
        self,
        arch: str | dict = 'ViT-B-16',
        pretrained: str | None = None,
        finetune: str | Sequence[str] = 'none',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        arch = clip_arch(arch, pretrained)
        text = arch['text_cfg']
        width = text['width']
        self.embed_dims = arch['embed_dim']
        self.context_length = text['context_length']
        self.arch = dict(**text, quick_gelu=arch['quick_gelu'])
        self.token_embedding = nn.Embedding(text['vocab_size'], width)
        self.positional_embedding = nn.Parameter(
            torch.empty(self.context_length, width)
        )
        self.transformer = CLIPTransformer(
            width,
            text['layers'],
            text['heads'],
            text['mlp_ratio'],
            arch['quick_gelu'],
        )
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(
            torch.empty(width, self.embed_dims)
        )
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)
        freeze_except(self, finetune)

    @property
    def trainable(self) -> bool:
        """Whether any parameter is trainable."""
        return any(p.requires_grad for p in self.parameters())

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode token ids.

        Args:
            tokens (Tensor): Token ids, (T, N) int64, with N at most
                ``context_length``. In each row, the end token has the highest
                id. Tokens after the end token are ignored.

        Returns:
            Tensor: Text embeddings, (T, C), not normalised.
        """
        return self.encode(self.token_embedding(tokens), tokens.argmax(dim=1))

    def encode(self, x: Tensor, ends: Tensor) -> Tensor:
        """Encode token embeddings.

        Args:
            x (Tensor): Token embeddings without positional embeddings,
                (T, N, W).
            ends (Tensor): Index of the end token in each row, (T,) int64.

        Returns:
            Tensor: Text embeddings, (T, C), not normalised.
        """
        x = x + self.positional_embedding[: x.shape[1]]
        for block in self.transformer.resblocks:
            x = block(x, is_causal=True)
        x = x[torch.arange(len(x), device=x.device), ends]
        return self.ln_final(x) @ self.text_projection
