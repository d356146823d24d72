# SPDX-License-Identifier: Apache-2.0
"""Choice of the trained parameters of a CLIP tower."""

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
    """Freeze all parameters of ``module`` but the chosen ones.

    Args:
        module (nn.Module): A CLIP tower.
        finetune (str | Sequence[str]): ``'none'``, ``'attention'`` (q and v
            of every block), ``'full'`` (every block and prompt token),
            ``'prompt'`` (visual prompt tokens), ``'all'``, or a list of
            strings; a parameter is trained if its name holds one of them.

    Raises:
        ValueError: If ``finetune`` is a string and not a known mode.
    """
    if isinstance(finetune, str):
        if finetune not in FINETUNE_MODES:
            raise ValueError(
                f'finetune={finetune!r} is not one of '
                f'{", ".join(FINETUNE_MODES)}; give one of them or a list of '
                'parts of parameter names'
            )
        finetune = FINETUNE_MODES[finetune]
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(any(part in name for part in finetune))
