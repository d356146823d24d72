# SPDX-License-Identifier: Apache-2.0
"""Types of the values that modules of the package exchange.

Letters: B images, V views (windows) of an image, Q proposals, D supervised
decoder states, T class texts, C embedding width, N tokens, H, W pixels, h, w
positions of a smaller grid.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class CLIPFeatures(NamedTuple):
    """Output of the image tower.

    Attributes:
        dense (Tensor): Patch embeddings, (B, C, h, w), not normalised.
        cls (Tensor): Class embedding, (B, C), not normalised; CLIP's own only
            with ``last_block='attention'``.
        layers (tuple[Tensor]): Residual streams after the blocks
            ``out_indices``, (B, 1 + N, D) each, class token first; after
            the norm of ``prompt_norm``, if there is one.
        keys (Tensor, optional): Keys of the last block, (B, D, h, w), if
            ``last_block`` gives them.
    """

    dense: Tensor
    cls: Tensor
    layers: tuple[Tensor, ...]
    keys: Tensor | None = None


class ImageContext(NamedTuple):
    """CLIP's features of whole images.

    Attributes:
        embedding (Tensor): Class embeddings, (B, C), not normalised.
        tokens (dict[int, Tensor]): Residual streams after some blocks
            (0-based), (B, 1 + N, D), class token first.
    """

    embedding: Tensor
    tokens: dict[int, Tensor]

    def class_tokens(self, images: slice = slice(None)) -> dict[int, Tensor]:
        """Class tokens of some images after each block, (B, D)."""
        return {block: x[images, 0] for block, x in self.tokens.items()}


class Regions(NamedTuple):
    """Encoded regions of an image.

    Attributes:
        embeddings (Tensor): CLIP embeddings of the n valid proposals,
            (n, C), not normalised.
        valid (Tensor): Which proposals have a region, (Q,) bool.
    """

    embeddings: Tensor
    valid: Tensor


class PixelFeatures(NamedTuple):
    """Input of a mask head: output of the pixel decoder for a batch.

    The segmentor adds ``context`` if it has a context encoder.

    Attributes:
        mask_features (Tensor): Features of the pixels, (B, C, h, w) at stride
            4; a mask is the product of a query's vector with them.
        maps (tuple[Tensor, ...]): Maps that queries attend to, coarsest
            first.
        context (ImageContext, optional): CLIP's features of the images.
    """

    mask_features: Tensor
    maps: tuple[Tensor, ...]
    context: ImageContext | None = None


class LevelFeatures(NamedTuple):
    """Input of a head that matches text with several levels of an image.

    Attributes:
        levels (tuple[Tensor]): Patch embeddings of several depths, shallow
            to deep, (B, C, h, w) each, of length 1 along C.
        cls (Tensor): Class embedding, (B, C), of length 1.
    """

    levels: tuple[Tensor, ...]
    cls: Tensor


class CostFeatures(NamedTuple):
    """Input of a cost-aggregation head.

    Attributes:
        image (Tensor): Dense image embeddings, (B, C, h, w).
        appearance (Tensor): Guidance at the same grid, (B, A, h, w).
        decoder (tuple[Tensor]): Guidance of the upsampling stages, the i-th
            at 2**(i + 1) times the grid.
    """

    image: Tensor
    appearance: Tensor
    decoder: tuple[Tensor, ...]


class MaskProposals(NamedTuple):
    """Proposals of a batch; the last entry of D is the final one.

    Attributes:
        embeddings (Tensor): Embeddings to compare with class texts, (D, B,
            Q, E), not normalised.
        masks (Tensor): Mask logits at stride 4, (D, B, Q, h, w).
    """

    embeddings: Tensor
    masks: Tensor


class MaskPredictions(NamedTuple):
    """Classified proposals; the last entry of D is the final one.

    Attributes:
        class_logits (Tensor): Class logits, (D, B, Q, T + 1); the last
            class is ``no object``.
        mask_logits (Tensor): Mask logits, (D, B, Q, h, w) at stride 4.
    """

    class_logits: Tensor
    mask_logits: Tensor


class MaskVotes(NamedTuple):
    """Class votes of the proposals in the views of one image.

    The score of class t at a pixel is the sum over proposals of
    ``weights[q, t] * masks[q]``; it is not computed for all classes at once.

    Attributes:
        weights (Tensor): Weight of each class for each proposal, (V, Q, T).
        masks (Tensor): Probabilities at the size of the view, (V, Q, H, W).
        proposal_probs (Tensor): Class probabilities from the proposals'
            embeddings, (V, Q, T).
        region_probs (Tensor): Class probabilities from the proposals'
            regions, (V, Q, T); NaN without a region.
    """

    weights: Tensor
    masks: Tensor
    proposal_probs: Tensor
    region_probs: Tensor


class MaskTargets(NamedTuple):
    """Targets of the proposals of one image.

    Attributes:
        labels (Tensor): Classes present, ascending, (n,) int64.
        masks (Tensor): Their pixels, (n, H, W) bool.
    """

    labels: Tensor
    masks: Tensor


@dataclass(frozen=True)
class ViewLayout:
    """Where the views of one image lie.

    Attributes:
        size (tuple[int, int]): (H, W) that the fused scores cover.
        window (tuple[int, int], optional): (H, W) of a window. None: there
            is one view, the image as it is.
        corners (tuple[tuple[int, int], ...]): Top and left of each window;
            the windows are a grid, row by row.
        global_view (bool): Whether the last view is the whole image.
        padding (tuple[int, int, int, int]): Rows and columns of a view beyond
            its window: left, right, top, bottom.
    """

    size: tuple[int, int]
    window: tuple[int, int] | None = None
    corners: tuple[tuple[int, int], ...] = ((0, 0),)
    global_view: bool = False
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
