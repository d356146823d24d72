# SPDX-License-Identifier: Apache-2.0
"""Options of the learned prompt tokens of CLIP's image tower."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class VisualPrompts:
    """Learned tokens between the class token and the patches of some blocks.

    Each prompted block replaces the prompts of the block before it by its own.

    Args:
        depth (int): Number of prompted blocks, counted from the first. 0:
            no prompts.
        length (int): Prompt tokens per block.
        init (str): Range of the uniform distribution of the initial prompts:
            ``'patches'``, the range for a patch embedding (visual prompt
            tuning, Cascade-CLIP), or ``'xavier'``, PyTorch's range for a
            tensor (depth, length, width) (CAT-Seg, first version).
        stay (bool): Whether the prompts of the last prompted block stay in the
            blocks after it (CAT-Seg, first version) or end there
            (Cascade-CLIP).
        projection (bool): Whether prompts go through a linear layer, shared
            by all blocks, before they enter.
        dropout (float): Share of a prompt's channels that is set to zero in
            training, drawn per image.
        norm (bool): Whether one more learned norm, which belongs to the
            prompts, is applied to the output and all ``layers`` of the tower.

    Raises:
        ValueError: If ``init`` is unknown or prompts have no tokens.
    """

    depth: int = 0
    length: int = 0
    init: str = 'patches'
    stay: bool = True
    projection: bool = False
    dropout: float = 0.0
    norm: bool = False

    def __post_init__(self) -> None:
        if self.init not in ('patches', 'xavier'):
            raise ValueError(
                f"prompts.init={self.init!r} must be 'patches' or 'xavier'"
            )
        if self.depth and self.length < 1:
            raise ValueError(
                f'prompts.length={self.length} must be at least 1, since '
                f'prompts.depth={self.depth}'
            )

    def init_tokens(self, tokens: Tensor, patch_size: int) -> None:
        """Draw initial prompts in place.

        Args:
            tokens (Tensor): Prompt tokens, (depth, length, width).
            patch_size (int): Side of the patches in pixels.
        """
        if self.init == 'xavier':
            nn.init.xavier_uniform_(tokens)
        else:
            bound = (6 / (3 * patch_size**2 + tokens.shape[-1])) ** 0.5
            nn.init.uniform_(tokens, -bound, bound)
