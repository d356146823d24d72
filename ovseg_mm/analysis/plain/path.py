# SPDX-License-Identifier: Apache-2.0
"""The switch to the plain path."""

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

# Classes of modules, and functions that replace their ``forward``.
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
# Owners of other functions, names of these, and what replaces them.
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
    """Let a model compute as the papers and the authors' code write it.

    Weights and outputs are the same, up to rounding. The work is not: for
    example, guidance is concatenated to the tokens of each class, fill-up
    tokens of the class attention are real tokens, prompts have all positions
    of the text tower, and scores of all texts are in memory at full size. The
    plain path is the yardstick of the benchmark, and tests compare both paths.

    Methods of the package are replaced while the block runs, so no other model
    may run in another thread.

    Args:
        model (BaseOpenVocabSegmentor): The model. Each path computes its own
            text embeddings: those in memory are deleted at both ends.

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
    """Delete the text embeddings that the other path has computed."""
    for side in model.text_sides:
        side.clear()
