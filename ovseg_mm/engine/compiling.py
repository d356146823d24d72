# SPDX-License-Identifier: Apache-2.0
"""Compilation of the parts of a model that need the most time."""

import os
import shutil
from typing import Any

import torch
from torch import nn

from ovseg_mm.models.layers.clip_transformer import CLIPBlock
from ovseg_mm.utils.errors import InputError

# C++ compilers that torch.compile looks for on CPUs.
_CPP_COMPILERS = ('g++', 'clang++')


def compile_towers(model: nn.Module, options: bool | dict = True) -> int:
    """Compile the blocks of CLIP's image towers with ``torch.compile``.

    The blocks are compiled once. They are not compiled again for other sizes
    of images or batches. Other modules of the model are not compiled, because
    their loops would be compiled again for each size.

    Args:
        model (nn.Module): Model, changed in place.
        options (bool | dict): Arguments of ``torch.compile``. True: its
            default arguments. False: nothing is compiled.

    Returns:
        int: Number of compiled blocks.

    Raises:
        InputError: If the model has no image tower of CLIP, PyTorch is older
            than 2.3, or the computer has no C++ compiler.
    """
    if not options:
        return 0
    if not hasattr(torch.compiler, 'is_compiling'):
        raise InputError(
            f'compile needs PyTorch 2.3 or newer, but {torch.__version__} is '
            'installed; update PyTorch, or remove compile from the config'
        )
    chosen: dict[str, Any] = {} if options is True else dict(options)
    blocks = [
        module
        for name, module in model.named_modules()
        if isinstance(module, CLIPBlock) and 'text_encoder' not in name
    ]
    if not blocks:
        raise InputError(
            'compile has no effect on a model without an image tower of '
            'CLIP; remove compile from the config'
        )
    if chosen.get('backend', 'inductor') == 'inductor':
        _check_compiler()
    for block in blocks:
        block.compile(**{'dynamic': True, **chosen})
    return len(blocks)


def _check_compiler() -> None:
    names = (os.environ.get('CXX'), *_CPP_COMPILERS)
    if not any(name and shutil.which(name) for name in names):
        raise InputError(
            'compile needs a C++ compiler, but there is neither '
            f'{" nor ".join(_CPP_COMPILERS)}; install one (such as the '
            'package build-essential), or remove compile from the config'
        )
