# SPDX-License-Identifier: Apache-2.0
"""CLIP's text tower with learned prompt tokens around the class name.

Letters: T texts, N tokens of the longest text, W width of the tower, C width
of the embeddings.
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
    """CLIP's text tower with learned prompt tokens around the class name.

    The tower reads the start token, a learned prefix, the tokens of the name,
    a learned suffix, a full stop and the end token. All names share prefix and
    suffix. Names must come without a template, so the segmentor needs
    ``prompts=dict(templates=['{}'])``.

    Args:
        arch (str | dict): See :class:`CLIPTextTransformer`.
        pretrained (str, optional): See :class:`CLIPTextTransformer`.
        finetune (str | Sequence[str]): See :func:`freeze_except`.
            ``'prompt'`` trains only prefix and suffix.
        prefix_length (int): Number of learned tokens before the name.
        suffix_length (int): Number of learned tokens after the name.
        prompt_weights (str | Path, optional): Checkpoint with initial values
            of prefix and suffix: one that this package saved, or one that the
            authors of a method published. None: random values.
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
        # Positions left for the start token, the name and the end token.
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
        """Initialise the parameters.

        If ``prompt_weights`` is set, prefix and suffix are read from this
        file.

        Raises:
            InputError: If the prefix in the file does not match
                ``prefix_length``. A file for length 0 must not contain a
                prefix. For any other length, the file must contain exactly one
                prefix, which has this length and the width of the tower. The
                same holds for the suffix.
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
                    f'{self.prompt_weights} has {name} of the shapes '
                    f'{shapes}, but the text encoder expects {wanted}; set '
                    'prefix_length and suffix_length to the values with which '
                    'the file was trained'
                )
            with torch.no_grad():
                prompt.copy_(tensors[found[0]])

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode class names.

        Args:
            tokens (Tensor): Token ids, (T, N) int64: start token, name, end
                token, then padding of any value. N is at most
                ``context_length``.

        Returns:
            Tensor: Text embeddings, (T, C), not normalised.
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
        # Suffix, full stop and end token begin at the end token of the name.
        starts = tokens.argmax(dim=1) + head.shape[1] - 1
        rows = torch.arange(len(x), device=x.device)[:, None]
        columns = starts[:, None] + torch.arange(len(tail), device=x.device)
        x = x.index_put((rows, columns), tail.expand(len(x), -1, -1))
        return self.encode(x, columns[:, -1])
