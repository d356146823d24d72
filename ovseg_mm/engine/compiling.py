# SPDX-License-Identifier: Apache-2.0
"""Compilation of the parts of a model that take most of the time."""

import os
import shutil
from typing import Any

from torch import nn

from ovseg_mm.models.layers.clip_transformer import CLIPBlock
from ovseg_mm.utils.errors import InputError

# What PyTorch's compiler for processors looks for.
_CPP_COMPILERS = ('g++', 'clang++')


def compile_towers(model: nn.Module, options: bool | dict = True) -> int:
    """Compile the blocks of CLIP's image towers with ``torch.compile``.

    The blocks of a tower are alike, so that one graph serves all of them.
    Sizes of images, batches and vocabularies are dynamic: other sizes are not
    compiled again. The rest of the model is not compiled, since loops over
    parts of a tensor and windows of an image would be compiled once for each
    size.

    Args:
        model (nn.Module): The model; changed in place.
        options (bool | dict): Arguments of ``torch.compile``, or whether to
            compile with its defaults.

    Returns:
        int: Number of compiled blocks.

    Raises:
        InputError: If there are no such blocks, or no C++ compiler.
    """
    if not options:
        return 0
    chosen: dict[str, Any] = {} if options is True else dict(options)
    blocks = [
        module
        for name, module in model.named_modules()
        if isinstance(module, CLIPBlock) and 'text_encoder' not in name
    ]
    if not blocks:
        raise InputError(
            'compile has no effect on a model without an image tower of '
            'CLIP; leave it out'
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
            'compile needs a C++ compiler, found neither '
            f'{" nor ".join(_CPP_COMPILERS)}; install one (such as the '
            'package build-essential), or leave compile out'
        )
