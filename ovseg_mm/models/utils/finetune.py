# SPDX-License-Identifier: Apache-2.0
"""Choice of the trainable parameters of a CLIP tower."""

from collections.abc import Sequence

from torch import nn

FINETUNE_MODES = {
    'none': (),
    'attention': ('attn.q_proj_weight', 'attn.v_proj_weight'),
    'full': ('transformer.', 'prompt'),
    'prompt': ('prompt',),
    'all': ('',),
}


def freeze_except(module: nn.Module, finetune: str | Sequence[str]) -> None:
    """Freeze a CLIP tower, except for the chosen parameters.

    Args:
        module (nn.Module): CLIP tower.
        finetune (str | Sequence[str]): Parameters to train. A list has parts
            of names: parameters with such a part in their name are trained. A
            string is one of the modes ``'none'``, ``'attention'`` (query and
            value projections of all blocks), ``'prompt'`` (prompt tokens),
            ``'full'`` (all blocks and prompt tokens) and ``'all'``.

    Raises:
        ValueError: If ``finetune`` is a string other than these modes.
    """
    if isinstance(finetune, str):
        if finetune not in FINETUNE_MODES:
            raise ValueError(
                f'finetune={finetune!r} is not one of '
                f'{", ".join(FINETUNE_MODES)}; use one of these, or a list of '
                'parts of parameter names'
            )
        finetune = FINETUNE_MODES[finetune]
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(any(part in name for part in finetune))
