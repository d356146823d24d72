# SPDX-License-Identifier: Apache-2.0
"""Layout of the six checkpoints that Cascade-CLIP's authors published.

The files were written by MMSegmentation 0.x.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..rename import Drop, Row
from .clip import image_rows, text_rows
from .layout import LAYOUTS, Layout

_PROMPTS = ('backbone.prompt_embeddings', 'backbone.deep_prompt_embeddings')
_PARAMS = r'\.(weight|bias)'
_DECODER = r'decode_head\.cascade_decoders\.(\d+)\.layers\.'
_UNUSED = Drop('a part of the decoder that does not change its mask logits')


def _decoder_rows(last: int) -> list[Row]:
    """Return the rows that rename the tensors of the decoders.

    In the last layer, only the projections of q and k are kept, since the
    mask logits do not depend on other tensors of this layer.

    Args:
        last (int): Index of the last layer of each decoder.

    Returns:
        list[Row]: Rows of the renaming table.
    """
    layer = rf'{_DECODER}(\d+)\.'
    into = r'decode_head.decoders.\1.'
    return [
        (
            rf'{_DECODER}{last}\.multihead_attn\.([qk]){_PARAMS}',
            rf'{into}similarity.\2.\3',
        ),
        (rf'{_DECODER}{last}\..*', _UNUSED),
        (rf'{layer}(?:self_attn|norm1)\..*', _UNUSED),
        (
            rf'{layer}multihead_attn\.([qk]){_PARAMS}',
            rf'{into}layers.\2.similarity.\3.\4',
        ),
        *(
            (rf'{layer}{theirs}{_PARAMS}', rf'{into}layers.\2.{ours}.\3')
            for theirs, ours in (
                (r'multihead_attn\.v', 'v'),
                (r'multihead_attn\.proj', 'proj'),
                ('norm2', 'attn_norm'),
                ('norm3', 'mlp_norm'),
                ('linear1', 'mlp.0'),
                ('linear2', 'mlp.3'),
            )
        ),
    ]


_ROWS: list[Row] = [
    *image_rows('backbone.'),
    *text_rows('text_encoder.'),
    (
        rf'backbone\.(?:prompt_tokens|prompt_(?:proj|norm){_PARAMS})',
        r'\g<0>',
    ),
    (rf'backbone\.ln_layers\.(\d+){_PARAMS}', r'neck.norms.\1.\2'),
    (r'backbone\.proj_layers', 'neck.projections'),
    (r'decode_head\.weights_s1', 'decode_head.level_weights.0'),
    (r'decode_head\.weights_s2', 'decode_head.level_weights.1'),
    (
        rf'decode_head\.q_projs\.(\d+){_PARAMS}',
        r'decode_head.query_projections.\1.\2',
    ),
    (
        r'decode_head\.loss_decode\.criterion\.empty_weight',
        Drop('a class weight that the losses do not use'),
    ),
]


@LAYOUTS.register
class CascadeCLIPLayout(Layout):
    """Layout of the checkpoints of Cascade-CLIP's authors."""

    name = 'cascade_clip'
    method = 'Cascade-CLIP'
    signature = (
        r'backbone\.deep_prompt_embeddings',
        r'backbone\.proj_layers',
        r'decode_head\.cascade_decoders\.0\.layers\.0\..*',
    )

    def prepare(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Concatenate the prompt tokens of the first and of later blocks."""
        joined = dict(tensors)
        if all(name in joined for name in _PROMPTS):
            shallow, deep = (joined.pop(name) for name in _PROMPTS)
            joined['backbone.prompt_tokens'] = torch.cat([shallow, deep])
        return joined

    def rows(self, names: Iterable[str]) -> list[Row]:
        """Return the renaming table.

        The table depends on the number of decoder layers in the file.

        Args:
            names (Iterable[str]): Names of the tensors from :meth:`prepare`.

        Returns:
            list[Row]: Renaming table. It drops the unused tensors in the last
            layer of each decoder.
        """
        matches = (re.match(rf'{_DECODER}(\d+)\.', name) for name in names)
        last = max((int(match[2]) for match in matches if match), default=0)
        return [*_ROWS, *_decoder_rows(last)]
