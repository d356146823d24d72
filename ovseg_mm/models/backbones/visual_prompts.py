# SPDX-License-Identifier: Apache-2.0
"""Options of the learned prompt tokens of CLIP's image tower."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class VisualPrompts:
    """Options of learned prompt tokens in the first blocks of CLIP.

    Each of the first ``depth`` blocks, the prompted blocks, gets its own
    prompt tokens. They replace the prompt tokens of the previous block.

    Args:
        depth (int): Number of prompted blocks, counted from the first. 0:
            no prompts.
        length (int): Number of prompt tokens of each block.
        init (str): Range of the uniform distribution of the initial prompts.
            ``'patches'``: Xavier's range for the patch embedding (visual
            prompt tuning, Cascade-CLIP). ``'xavier'``: the range of
            ``xavier_uniform_`` for the tensor (depth, length, width) (CAT-Seg,
            first version).
        stay (bool): Whether the prompts of the last prompted block remain in
            all later blocks (CAT-Seg, first version). False: they are removed
            after the last prompted block (Cascade-CLIP).
        projection (bool): Whether a linear layer, shared by all blocks, is
            applied to the prompts before they are used.
        dropout (float): Probability that a channel of a prompt token is set
            to zero in training.
        norm (bool): Whether an additional LayerNorm is applied to the tokens
            of the last block and of the blocks in ``out_indices``.

    Raises:
        ValueError: If ``init`` is unknown, or ``length`` is below 1 although
            ``depth`` is positive.
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
                f'prompts.depth={self.depth} asks for prompts; change '
                'prompts.length, or set prompts.depth=0 for no prompts'
            )

    def init_tokens(self, tokens: Tensor, patch_size: int) -> None:
        """Fill the prompt tokens with random numbers, in place.

        Args:
            tokens (Tensor): Prompt tokens, (depth, length, width).
            patch_size (int): Side of a patch in pixels.
        """
        if self.init == 'xavier':
            nn.init.xavier_uniform_(tokens)
        else:
            bound = (6 / (3 * patch_size**2 + tokens.shape[-1])) ** 0.5
            nn.init.uniform_(tokens, -bound, bound)
