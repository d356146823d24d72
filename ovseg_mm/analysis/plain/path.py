# SPDX-License-Identifier: Apache-2.0
"""Context manager that makes a model use the plain path.

The plain path is a direct implementation of the papers, without the
optimisations of this package.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from mmseg.models.backbones.swin import ShiftWindowMSA
from torch import nn

from ovseg_mm.inference import Labelling, score_map
from ovseg_mm.models.backbones import CLIPViT
from ovseg_mm.models.backbones.last_blocks import calibrated, simple
from ovseg_mm.models.backbones.swin import FusedWindowAttention
from ovseg_mm.models.decode_heads.cat_seg import CATSegCostHead
from ovseg_mm.models.decode_heads.mask_proposal_head import MaskProposalHead
from ovseg_mm.models.layers import deform_attention
from ovseg_mm.models.layers.clip_transformer import (
    CLIPAttention,
    CLIPBlock,
    QuickGELU,
)
from ovseg_mm.models.region_encoders import CLIPRegionEncoder
from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor
from ovseg_mm.models.text_encoder import text_bank
from ovseg_mm.models.utils import chunks, linear_layers

from ..replacing import replaced
from . import cat_seg, clip, masks, scores

# Functions that replace the ``forward`` of modules, by class of the module.
FORWARDS: dict[type[nn.Module], Callable] = {
    CATSegCostHead: cat_seg.cost_head,
    CLIPBlock: clip.block,
    CLIPViT: clip.image_tower,
    QuickGELU: clip.quick_gelu,
    MaskProposalHead: masks.proposals,
    CLIPRegionEncoder: masks.regions,
    FusedWindowAttention: ShiftWindowMSA.forward,
    nn.MultiheadAttention: masks.attention,
}
# Other attributes that are replaced: owner, name and new value.
OTHERS: tuple[tuple[Any, str, Any], ...] = (
    (CLIPAttention, 'value', clip.value_path),
    (simple, 'attend', clip.attend),
    (calibrated, 'attend', clip.attend),
    (deform_attention, 'sample_rows', deform_attention.sample_levels),
    (linear_layers, '_operator', lambda: None),
    (chunks, 'CHUNK_BYTES', {}),
    (chunks, 'CHUNK_BYTES_ELSEWHERE', 1 << 62),
    (text_bank, 'encode_prompts', clip.encode_prompts),
    (text_bank, 'read_cache', lambda digest: None),
    (text_bank, 'write_cache', lambda digest, text, message: None),
    (score_map, 'fuse_views', scores.fuse_views),
    (score_map, 'resize', scores.resize),
    (score_map, 'penalise_seen', scores.penalise_seen),
    (Labelling, 'labels', scores.labels),
)


@contextmanager
def plain_path(model: BaseOpenVocabSegmentor) -> Iterator[None]:
    """Make a model use the plain path while the ``with`` block runs.

    The plain path is a direct implementation of the papers, like the authors'
    code. It uses the same weights as the optimised code of this package, and
    its outputs are equal except for rounding errors. It does work that the
    optimised code avoids, for example:

    - Guidance is concatenated to the tokens of each class.
    - Class attention computes every padding token separately.
    - Prompts are padded to the context length of the text tower.
    - The scores of all class texts are in memory at the size of the image.

    Functions of the package are replaced while the block runs. Therefore, no
    other model may run in another thread. Text embeddings in memory are
    deleted when the block begins and when it ends, so that the plain path and
    the optimised code each compute their own.

    Args:
        model (BaseOpenVocabSegmentor): The model.

    Yields:
        None: While the plain path is used.
    """
    with ExitStack() as stack:
        for module in model.modules():
            forward = FORWARDS.get(type(module))
            if forward is not None:
                stack.enter_context(
                    replaced(module, 'forward', partial(forward, module))
                )
        for other in OTHERS:
            stack.enter_context(replaced(*other))
        _forget_text(model)
        stack.callback(_forget_text, model)
        yield


def _forget_text(model: BaseOpenVocabSegmentor) -> None:
    """Delete the text embeddings in memory, so that they are recomputed."""
    for side in model.text_sides:
        side.clear()
