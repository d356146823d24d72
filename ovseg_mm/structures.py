# SPDX-License-Identifier: Apache-2.0
"""Types of the values that the modules of the package exchange.

Letters of shapes: B images, V views (windows) of an image, Q mask proposals,
T class texts, N patches of an image, C width of CLIP's embeddings, D width of
the tokens in CLIP's image tower, H and W height and width in pixels, h and w
height and width of a coarser grid.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class CLIPFeatures(NamedTuple):
    """Output of CLIP's image tower :class:`CLIPViT` for B images.

    ``last_block``, ``out_indices`` and ``prompts`` are arguments of the
    tower.

    Attributes:
        dense (Tensor): Patch embeddings, (B, C, h, w), not normalised.
        cls (Tensor): Embeddings of the class token, (B, C), not normalised.
            They are CLIP's image embeddings only with
            ``last_block='attention'``.
        layers (tuple[Tensor]): Output tokens of the blocks in
            ``out_indices``, (B, 1 + N, D) each: the class token, then N patch
            tokens. If ``prompts`` has ``norm=True``, a LayerNorm was applied
            to these tokens.
        keys (Tensor, optional): Keys of the attention in the last block,
            (B, D, h, w). None if the chosen ``last_block`` does not return
            keys.
    """

    dense: Tensor
    cls: Tensor
    layers: tuple[Tensor, ...]
    keys: Tensor | None = None


class ImageContext(NamedTuple):
    """CLIP's features of B whole images.

    Attributes:
        embedding (Tensor): Embeddings of the class token, (B, C), not
            normalised.
        tokens (dict[int, Tensor]): Output tokens of some blocks. The key is
            the index of the block, from 0. The value is (B, 1 + N, D): the
            class token, then N patch tokens.
    """

    embedding: Tensor
    tokens: dict[int, Tensor]

    def class_tokens(self, images: slice = slice(None)) -> dict[int, Tensor]:
        """Return the class tokens of some images.

        Args:
            images (slice): Indices of the n images; by default all images.

        Returns:
            dict[int, Tensor]: Class tokens, (n, D), by index of the block.
        """
        return {block: x[images, 0] for block, x in self.tokens.items()}


class Regions(NamedTuple):
    """CLIP embeddings of the regions under the Q mask proposals of an image.

    Attributes:
        embeddings (Tensor): Embeddings of the n proposals that have a region,
            (n, C), not normalised.
        valid (Tensor): Which proposals have a region, (Q,) bool; n entries
            are True.
    """

    embeddings: Tensor
    valid: Tensor


class PixelFeatures(NamedTuple):
    """Input of a mask head: output of the pixel decoder for B images.

    Attributes:
        mask_features (Tensor): Pixel features with M channels at stride 4,
            (B, M, h, w). The mask logits of a query are the inner products of
            its vector, (M,), with these features.
        maps (tuple[Tensor, ...]): Feature maps that the queries attend to,
            from coarse to fine.
        context (ImageContext, optional): CLIP's features of the images. The
            segmentor adds them if it has a context encoder.
    """

    mask_features: Tensor
    maps: tuple[Tensor, ...]
    context: ImageContext | None = None


class LevelFeatures(NamedTuple):
    """Input of a head that compares class texts with several blocks of CLIP.

    Attributes:
        levels (tuple[Tensor]): Patch embeddings of several blocks of CLIP,
            from shallow to deep, (B, C, h, w) each, with unit length along C.
        cls (Tensor): Embeddings of the class token, (B, C), with unit length.
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
    """Mask proposals for B images, computed from S decoder states.

    The decoder returns S states of each query; the final state is the last
    one. The earlier states are only used by the training losses.

    Attributes:
        embeddings (Tensor): Embeddings of the Q proposals, with width E,
            (S, B, Q, E), not normalised. They are compared with the
            embeddings of the class texts.
        masks (Tensor): Mask logits at stride 4, (S, B, Q, h, w).
    """

    embeddings: Tensor
    masks: Tensor


class MaskPredictions(NamedTuple):
    """Mask proposals with class logits, computed from S decoder states.

    The decoder returns S states of each query; the final state is the last
    one. The earlier states are only used by the training losses.

    Attributes:
        class_logits (Tensor): Logits of T class texts and, last, of
            "no object", (S, B, Q, T + 1).
        mask_logits (Tensor): Mask logits at stride 4, (S, B, Q, h, w).
    """

    class_logits: Tensor
    mask_logits: Tensor


class MaskVotes(NamedTuple):
    """Class weights and masks of Q proposals in V views of one image.

    The score of class t at a pixel is the sum of
    ``weights[v, q, t] * masks[v, q]`` over the proposals q. The scores are
    computed later, for a few classes at a time, to save memory.

    Attributes:
        weights (Tensor): Weight of each class for each proposal, (V, Q, T).
        masks (Tensor): Mask probabilities at the size of a view,
            (V, Q, H, W).
        proposal_probs (Tensor): Class probabilities of the proposals,
            computed from their own embeddings, (V, Q, T).
        region_probs (Tensor): Class probabilities of the proposals, computed
            from CLIP's embeddings of their regions, (V, Q, T); NaN for a
            proposal without a region.
    """

    weights: Tensor
    masks: Tensor
    proposal_probs: Tensor
    region_probs: Tensor


class MaskTargets(NamedTuple):
    """Training targets of the mask proposals of one image.

    Attributes:
        labels (Tensor): Labels of the n classes in the image, ascending,
            (n,) int64.
        masks (Tensor): Mask of each class, (n, H, W) bool; True for its
            pixels.
    """

    labels: Tensor
    masks: Tensor


@dataclass(frozen=True)
class ViewLayout:
    """Positions of the views of one image.

    Attributes:
        size (tuple[int, int]): Height and width of the image from which the
            windows are cut. The scores of all windows are fused to this size.
        window (tuple[int, int], optional): Height and width of a window.
            None: the only view is the image itself.
        corners (tuple[tuple[int, int], ...]): First row and column of each
            window. The windows form a grid and are listed row by row.
        global_view (bool): Whether the last view is the whole image, resized
            to a window.
        padding (tuple[int, int, int, int]): How many columns of zeros were
            added on the left and right of each view, and how many rows at the
            top and bottom.
    """

    size: tuple[int, int]
    window: tuple[int, int] | None = None
    corners: tuple[tuple[int, int], ...] = ((0, 0),)
    global_view: bool = False
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
