# SPDX-License-Identifier: Apache-2.0
"""Layout of the Swin Transformer checkpoints of Swin's authors.

The layout renames the tensors to the names that MMSegmentation and our models
use.
"""

import torch
from torch import Tensor

from ..rename import Drop, Row, map_tensor
from .layout import LAYOUTS, Layout

_PARAMS = r'\.(weight|bias)'


def swin_rows(source: str = '', target: str = '') -> list[Row]:
    """Return the rows that rename the tensors of a Swin Transformer.

    Args:
        source (str): Regular expression of the name prefix in the file.
        target (str): Name prefix in our model.

    Returns:
        list[Row]: Rows of the renaming table.
    """
    block = rf'{source}layers\.(\d)\.blocks\.(\d+)\.'
    into = rf'{target}stages.\1.blocks.\2.'
    merge = rf'{source}layers\.(\d)\.downsample\.'
    merge_into = rf'{target}stages.\1.downsample.'
    return [
        (
            rf'{source}patch_embed\.proj{_PARAMS}',
            rf'{target}patch_embed.projection.\1',
        ),
        (
            rf'{source}patch_embed\.norm{_PARAMS}',
            rf'{target}patch_embed.norm.\1',
        ),
        (rf'{source}(norm[0-3]){_PARAMS}', rf'{target}\1.\2'),
        (rf'{block}(norm[12]){_PARAMS}', rf'{into}\3.\4'),
        (
            rf'{block}attn\.((?:qkv|proj)\.(?:weight|bias)'
            '|relative_position_(?:bias_table|index))',
            rf'{into}attn.w_msa.\3',
        ),
        (
            rf'{block}attn_mask',
            Drop('the mask of shifted windows, which is computed again'),
        ),
        (rf'{block}mlp\.fc1{_PARAMS}', rf'{into}ffn.layers.0.0.\3'),
        (rf'{block}mlp\.fc2{_PARAMS}', rf'{into}ffn.layers.1.\3'),
        (
            rf'{merge}(reduction\.weight|norm\.weight|norm\.bias)',
            map_tensor(rf'{merge_into}\2', _reorder),
        ),
    ]


def _reorder(tensor: Tensor) -> Tensor:
    """Reorder the input channels of a patch merging layer.

    Patch merging concatenates the C channels of 2x2 neighbouring positions to
    4 C channels. In the file, position is the outer index (column by column)
    and channel is the inner index. In our model, channel is the outer index
    and position is the inner index (row by row).

    Args:
        tensor (Tensor): Weight or bias in the order of the file, (..., 4 C).

    Returns:
        Tensor: Weight or bias in the order of our model, (..., 4 C).
    """
    neighbours = torch.tensor([0, 2, 1, 3])
    blocks = tensor.unflatten(-1, (4, -1))[..., neighbours, :]
    return blocks.transpose(-1, -2).flatten(-2)


@LAYOUTS.register
class SwinLayout(Layout):
    """Layout of the ImageNet checkpoints of Swin's authors."""

    name = 'swin'
    method = 'Swin'
    signature = (
        r'patch_embed\.proj\.weight',
        r'layers\.0\.blocks\.0\.attn\.relative_position_bias_table',
    )
    table = (
        *swin_rows(),
        (
            rf'(?:norm|head){_PARAMS}',
            Drop('the classifier of ImageNet'),
        ),
    )
