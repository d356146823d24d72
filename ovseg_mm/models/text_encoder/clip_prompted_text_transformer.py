# SPDX-License-Identifier: Apache-2.0
"""CLIP's text tower with learned context tokens around the words.

Letters: T texts, N tokens of the longest one, W width, C embedding width.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.checkpoints import read_weights
from ovseg_mm.utils.errors import InputError

from ..utils import freeze_except
from .clip_text_transformer import CLIPTextTransformer

# Token ids of CLIP: a full stop at the end of a word, and the end token.
DOT, END = 269, 49407


@MODELS.register_module()
class CLIPPromptedTextTransformer(CLIPTextTransformer):
    """Text tower that reads ``start, prefix, words, suffix, full stop, end``.

    Prefix and suffix are learned and shared by all texts. It needs names
    without a template: ``prompts=dict(templates=['{}'])``.

    Args:
        arch (str | dict): See :class:`CLIPTextTransformer`.
        pretrained (str, optional): See :class:`CLIPTextTransformer`.
        finetune (str | Sequence[str]): See :func:`freeze_except`;
            ``'prompt'`` trains the context alone.
        prefix_length (int): Learned tokens before the words.
        suffix_length (int): Learned tokens after the words.
        prompt_weights (str | Path, optional): Checkpoint, ours or a
            published one, with the initial prompts. They are trained
            further unless ``finetune`` is ``'none'``.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    def __init__(
        self,
        arch: str | dict = 'ViT-B-16',
        pretrained: str | None = None,
        finetune: str | Sequence[str] = 'none',
        prefix_length: int = 16,
        suffix_length: int = 0,
        prompt_weights: str | Path | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(arch, pretrained, finetune, init_cfg)
        # Positions left for the words with their start and end.
        self.context_length -= prefix_length + suffix_length + 1
        width = self.token_embedding.embedding_dim
        for name, length in (
            ('prefix_prompt', prefix_length),
            ('suffix_prompt', suffix_length),
        ):
            prompt = None
            if length:
                prompt = nn.Parameter(torch.randn(length, width) * 0.02)
            self.register_parameter(name, prompt)
        self.prompt_weights = prompt_weights
        freeze_except(self, finetune)

    def init_weights(self) -> None:
        """Initialise; prompts come from ``prompt_weights`` if given.

        Raises:
            InputError: If the file has no such prompts, prompts of another
                shape, or prompts of two text towers.
        """
        super().init_weights()
        if self.prompt_weights is None:
            return
        tensors = read_weights(self.prompt_weights).tensors
        for name in ('prefix_prompt', 'suffix_prompt'):
            prompt = getattr(self, name)
            found = [key for key in tensors if key.split('.')[-1] == name]
            if prompt is None and not found:
                continue
            shapes = [tuple(tensors[key].shape) for key in found]
            if prompt is None or shapes != [tuple(prompt.shape)]:
                wanted = 'none' if prompt is None else tuple(prompt.shape)
                raise InputError(
                    f'{self.prompt_weights} has the {name} {shapes}, but the '
                    f'text encoder takes {wanted}; set prefix_length and '
                    'suffix_length to what the prompts were learned with'
                )
            with torch.no_grad():
                prompt.copy_(tensors[found[0]])

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode names.

        Args:
            tokens (Tensor): Token ids, (T, N) int64: start, words, end, then
                any values; N at most ``context_length``.

        Returns:
            Tensor: (T, C), not normalised.
        """
        words = self.token_embedding(tokens)
        tail = self.token_embedding(tokens.new_tensor([DOT, END]))
        if self.suffix_prompt is not None:
            tail = torch.cat([self.suffix_prompt, tail])
        head = words[:, :1]
        if self.prefix_prompt is not None:
            prefix = self.prefix_prompt.expand(len(tokens), -1, -1)
            head = torch.cat([head, prefix], dim=1)
        room = words[:, :1].expand(-1, len(tail) - 1, -1)
        x = torch.cat([head, words[:, 1:], room], dim=1)
        # The tail begins at the position of the words' end token.
        starts = tokens.argmax(dim=1) + head.shape[1] - 1
        rows = torch.arange(len(x), device=x.device)[:, None]
        columns = starts[:, None] + torch.arange(len(tail), device=x.device)
        x = x.index_put((rows, columns), tail.expand(len(x), -1, -1))
        return self.encode(x, columns[:, -1])
