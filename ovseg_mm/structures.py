# SPDX-License-Identifier: Apache-2.0
"""Types of the values that the modules of the package exchange.

Letters: B images, V views (windows) of an image, Q proposals, T class texts,
C width of CLIP's embeddings, N patch tokens, H, W height and width in pixels,
h, w height and width of a smaller grid.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class CLIPFeatures(NamedTuple):
    """Output of CLIP's image tower :class:`CLIPViT` for B images.

    The options named below are arguments of the tower.

    Attributes:
        dense (Tensor): Patch embeddings, (B, C, h, w), not normalised.
        cls (Tensor): Class embeddings, (B, C), not normalised. They equal
            CLIP's own only with ``last_block='attention'``.
        layers (tuple[Tensor]): Tokens of width D after each block in
            ``out_indices``, (B, 1 + N, D) each: the class token, then N
            patches. With ``norm=True`` in ``prompts``, a LayerNorm is
            applied to them.
        keys (Tensor, optional): Keys of the attention in the last block,
            (B, D, h, w), for values of ``last_block`` that return them.
    """

    dense: Tensor
    cls: Tensor
    layers: tuple[Tensor, ...]
    keys: Tensor | None = None


class ImageContext(NamedTuple):
    """CLIP's features of B whole images.

    Attributes:
        embedding (Tensor): Class embeddings, (B, C), not normalised.
        tokens (dict[int, Tensor]): Tokens after some blocks, by index of the
            block from 0, (B, 1 + N, D) each, of width D: the class token, then
            N patches.
    """

    embedding: Tensor
    tokens: dict[int, Tensor]

    def class_tokens(self, images: slice = slice(None)) -> dict[int, Tensor]:
        """Class tokens of some images, (B, width), by index of the block."""
        return {block: x[images, 0] for block, x in self.tokens.items()}


class Regions(NamedTuple):
    """CLIP embeddings of the regions of Q proposals in one image.

    Attributes:
        embeddings (Tensor): Embeddings of the n proposals that have a region,
            (n, C), not normalised.
        valid (Tensor): Which proposals have a region, (Q,) bool, n times True.
    """

    embeddings: Tensor
    valid: Tensor


class PixelFeatures(NamedTuple):
    """Input of a mask head: output of the pixel decoder for B images.

    Attributes:
        mask_features (Tensor): Features of the pixels at stride 4,
            (B, C, h, w). A mask is the product of these features with the
            vector of a query.
        maps (tuple[Tensor, ...]): Feature maps that the queries attend to,
            from coarse to fine.
        context (ImageContext, optional): CLIP's features of the images. The
            segmentor adds them if it has a context encoder.
    """

    mask_features: Tensor
    maps: tuple[Tensor, ...]
    context: ImageContext | None = None


class LevelFeatures(NamedTuple):
    """Input of a head that compares texts with several levels of an image.

    Attributes:
        levels (tuple[Tensor]): Patch embeddings of several blocks of CLIP,
            from shallow to deep, (B, C, h, w) each, with unit length along C.
        cls (Tensor): Class embeddings, (B, C), with unit length.
    """

    levels: tuple[Tensor, ...]
    cls: Tensor


class CostFeatures(NamedTuple):
    """Input of a cost-aggregation head (CAT-Seg).

    Attributes:
        image (Tensor): Patch embeddings of CLIP, (B, C, h, w).
        appearance (Tensor): Features with A channels that guide the
            aggregation, (B, A, h, w).
        decoder (tuple[Tensor]): Features that guide the upsampling. The i-th
            (from 0) has ``2 ** (i + 1)`` times the height and width of
            ``image``.
    """

    image: Tensor
    appearance: Tensor
    decoder: tuple[Tensor, ...]


class MaskProposals(NamedTuple):
    """Mask proposals for B images, from D states of the decoder.

    The last index along D is the final state; others are for training.

    Attributes:
        embeddings (Tensor): Embeddings of Q proposals to compare with class
            texts, (D, B, Q, E), not normalised, of width E.
        masks (Tensor): Mask logits at stride 4, (D, B, Q, h, w).
    """

    embeddings: Tensor
    masks: Tensor


class MaskPredictions(NamedTuple):
    """Mask proposals with class logits, from D states of the decoder.

    The last index along D is the final state; others are for training.

    Attributes:
        class_logits (Tensor): Logits of T class texts and, last, of
            "no object", (D, B, Q, T + 1).
        mask_logits (Tensor): Mask logits at stride 4, (D, B, Q, h, w).
    """

    class_logits: Tensor
    mask_logits: Tensor


class MaskVotes(NamedTuple):
    """Class weights and masks of Q proposals in V views of one image.

    The score of class t at a pixel is the sum of
    ``weights[v, q, t] * masks[v, q]`` over the proposals q. Scores are
    computed for a few classes at a time, to save memory.

    Attributes:
        weights (Tensor): Weight of each class for each proposal, (V, Q, T).
        masks (Tensor): Mask probabilities at the size of a view,
            (V, Q, H, W).
        proposal_probs (Tensor): Class probabilities from the embeddings of
            the proposals, (V, Q, T).
        region_probs (Tensor): Class probabilities from the regions of the
            proposals, (V, Q, T); NaN for a proposal without a region.
    """

    weights: Tensor
    masks: Tensor
    proposal_probs: Tensor
    region_probs: Tensor


class MaskTargets(NamedTuple):
    """Training targets of the mask proposals of one image.

    Attributes:
        labels (Tensor): The n classes in the image, ascending, (n,) int64.
        masks (Tensor): Pixels of each class, (n, H, W) bool.
    """

    labels: Tensor
    masks: Tensor


@dataclass(frozen=True)
class ViewLayout:
    """Positions of the views of one image.

    Attributes:
        size (tuple[int, int]): Height and width of the fused scores.
        window (tuple[int, int], optional): Height and width of a window.
            None: the only view is the image itself.
        corners (tuple[tuple[int, int], ...]): First row and column of each
            window. The windows form a grid and are listed row by row.
        global_view (bool): Whether the last view is the whole image.
        padding (tuple[int, int, int, int]): Number of padded columns (left,
            right) and rows (top, bottom) of a view.
    """

    size: tuple[int, int]
    window: tuple[int, int] | None = None
    corners: tuple[tuple[int, int], ...] = ((0, 0),)
    global_view: bool = False
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
