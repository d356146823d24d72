# SPDX-License-Identifier: Apache-2.0
"""CAT-Seg's decode head.

Letters: B images or windows, T class texts, K class texts that are aggregated
(at most ``pad_len``), P prompts per class, C embedding width, h x w patches, E
width of the class maps.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.inference import in_float32
from ovseg_mm.structures import CostFeatures

from ...utils import apply_to_chunks
from ..base_head import BaseOpenVocabHead
from .classwise import ClasswiseAggregation
from .spatial import GUIDANCE_DIMS, SpatialAggregation
from .upsample import DecoderOptions, UpsampleBlock

# Logit of a class text that is left out of the aggregation in a window.
CUT_LOGIT = -100.0
# Default threshold for a vocabulary with one label, by kind of score.
THRESHOLDS = dict(sigmoid=0.5, logits=0.0)


@MODELS.register_module()
class CATSegCostHead(BaseOpenVocabHead):
    """Decode head of CAT-Seg, which aggregates a cost volume.

    `CAT-Seg: Cost Aggregation for Open-Vocabulary Semantic Segmentation
    <https://arxiv.org/abs/2303.11797>`_.

    1. The cosine similarities of patch embeddings and text embeddings form a
       cost volume, with one map for each class.
    2. Layers of spatial aggregation (guided by appearance) and class
       aggregation (guided by text) refine the class maps.
    3. A small decoder upsamples each class map to four times the patch grid.

    Args:
        text_channels (int): Width C of the text embeddings.
        appearance_channels (int): Channels of the appearance guidance.
        prompt_channels (int): Number P of text embeddings per class.
        embed_dims (int): Channels E of the class maps.
        num_layers (int): Number of aggregation layers.
        pad_len (int, optional): Number of classes in the aggregation. If the
            vocabulary has fewer classes, padding tokens are added. If it has
            more, only the classes with the highest similarities in a window
            are aggregated in this window. None: all classes are aggregated,
            without padding.
        spatial (dict, optional): Arguments of :class:`SpatialAggregation`.
        classwise (dict, optional): Arguments of
            :class:`ClasswiseAggregation`.
        decoder (dict, optional): Arguments of :class:`DecoderOptions`.
        score (str): Scores that are averaged over windows. ``'sigmoid'``:
            sigmoid of the logits. ``'logits'``: the logits.
        threshold (float, optional): Threshold of the scores for a vocabulary
            with one label. Pixels whose score is at or below the threshold
            become background. None: 0.5 for ``score='sigmoid'``, 0 for
            ``score='logits'``.
        loss_decode (dict | Sequence[dict]): Config of one or several losses.
            None: ``DenseBCELoss``.
        with_accuracy (bool): Whether the pixel accuracy in percent is logged
            as ``acc_seg``.
        init_bias (float, optional): Initial bias of the last convolution.
            None: PyTorch's random value near 0, as in CAT-Seg. With about -3,
            short trainings converge faster, because initial scores are near 0.
            Most targets are 0, because most classes are absent from an image.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    method = 'CAT-Seg'
    exports_any_size = False  # the windows of the attention are constants
    limits_words = True
    option_dicts: ClassVar[dict] = dict(
        spatial=SpatialAggregation,
        classwise=ClasswiseAggregation,
        decoder=DecoderOptions,
    )

    def __init__(
        self,
        text_channels: int,
        appearance_channels: int,
        prompt_channels: int = 1,
        embed_dims: int = 128,
        num_layers: int = 2,
        pad_len: int | None = 256,
        spatial: dict | None = None,
        classwise: dict | None = None,
        decoder: dict | None = None,
        score: str = 'sigmoid',
        threshold: float | None = None,
        loss_decode: dict | Sequence[dict] | None = None,
        with_accuracy: bool = False,
        init_bias: float | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss_decode or dict(type='DenseBCELoss'), init_cfg)
        if score not in THRESHOLDS:
            raise ValueError(f"score={score!r} must be 'sigmoid' or 'logits'")
        self.prompt_channels = prompt_channels
        self.pad_len = pad_len
        self.score = score
        self.threshold = THRESHOLDS[score] if threshold is None else threshold
        self.with_accuracy = with_accuracy
        self.init_bias = init_bias
        spatial, classwise = spatial or {}, classwise or {}
        sizes = DecoderOptions(**(decoder or {}))
        self.cost_embedding = nn.Conv2d(
            prompt_channels, embed_dims, 7, padding=3
        )
        self.appearance_projection = nn.Conv2d(
            appearance_channels,
            spatial.get('guidance_dims', GUIDANCE_DIMS),
            3,
            padding=1,
        )
        text_dims = classwise.get('guidance_dims', GUIDANCE_DIMS)
        self.text_projection = (
            nn.Linear(text_channels, text_dims) if text_dims else None
        )
        self.decoder_projections = nn.ModuleList(
            nn.Conv2d(*channels, 3, padding=1) for channels in sizes.guidance
        )
        self.layers = nn.ModuleList(
            AggregatorLayer(
                SpatialAggregation(embed_dims, **spatial),
                ClasswiseAggregation(embed_dims, pad_len, **classwise),
            )
            for _ in range(num_layers)
        )
        widths = [embed_dims, *sizes.dims]
        self.upsample_blocks = nn.ModuleList(
            UpsampleBlock(*channels)
            for channels in zip(widths, sizes.dims, sizes.guidance_dims)
        )
        ratio = sizes.dropout_ratio
        self.dropout = nn.Dropout2d(ratio) if ratio else nn.Identity()
        self.head = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def init_weights(self) -> None:
        """Initialise the parameters.

        If ``init_bias`` is set, it becomes the bias of the last convolution.
        """
        super().init_weights()
        if self.init_bias is not None:
            assert self.head.bias is not None, 'bias=True'
            nn.init.constant_(self.head.bias, self.init_bias)

    def forward(
        self,
        feats: CostFeatures,
        text: Tensor,
        max_words: int | None = None,
    ) -> Tensor:
        """Compute the logits of all class texts.

        Args:
            feats (CostFeatures): Patch embeddings and guidance maps.
            text (Tensor): Text embeddings of T class texts and P prompts, (T,
                P, C).
            max_words (int, optional): Maximum number of class texts that are
                aggregated in each image. The class texts with the lowest
                similarities are left out. ``pad_len`` is also a maximum, and
                the smaller of the two is used. None: only ``pad_len`` is used.

        Returns:
            Tensor: Logits, (B, T, 4h, 4w); -100 for class texts that are left
            out.
        """
        cost = cost_volume(feats.image, text)
        num_classes = text.shape[0]
        text = F.normalize(text, dim=-1).mean(dim=1)[None]
        kept = None
        limits = (num_classes, self.pad_len, max_words)
        count = min(limit for limit in limits if limit is not None)
        if count < num_classes:
            kept = select_classes(cost, count)
            cost = cost.gather(
                1, kept[:, :, None, None, None].expand(-1, -1, *cost.shape[2:])
            )
            text = text[0][kept]
        x = self._aggregate(cost, feats.appearance, text)
        logits = self._decode(x, feats.decoder)
        if kept is None:
            return logits
        full = logits.new_full(
            (logits.shape[0], num_classes, *logits.shape[2:]), CUT_LOGIT
        )
        index = kept[:, :, None, None].expand_as(logits)
        return full.scatter(1, index, logits)

    def activate(self, logits: Tensor) -> Tensor:
        """Turn logits (t, H, W) of t class texts into scores.

        With ``score='sigmoid'``, a sigmoid is applied in place. With
        ``score='logits'``, the logits are returned unchanged.
        """
        return logits.sigmoid_() if self.score == 'sigmoid' else logits

    def _aggregate(
        self, cost: Tensor, appearance: Tensor, text: Tensor
    ) -> Tensor:
        """Embed a cost volume, and refine the class maps by all layers.

        Args:
            cost (Tensor): Cost volume of K classes and P prompts, (B, K, P, h,
                w).
            appearance (Tensor): Appearance guidance, (B, appearance_channels,
                h, w).
            text (Tensor): Text embeddings, (B, K, C); or (1, K, C) if all
                images have the same class texts.

        Returns:
            Tensor: Class maps, (B, K, h, w, E).
        """
        # Similarities are in float32, weights possibly in half precision.
        dtype = self.cost_embedding.weight.dtype
        maps = cost.flatten(0, 1).to(dtype).permute(0, 2, 3, 1)
        # With channels last in memory, the convolution is faster and gives
        # maps that need no copy. One channel needs a new tensor for that.
        maps = maps.clone(memory_format=torch.contiguous_format)
        x = self.cost_embedding(maps.permute(0, 3, 1, 2))
        x = x.permute(0, 2, 3, 1).unflatten(0, cost.shape[:2])
        appearance = self.appearance_projection(appearance).relu()
        appearance = appearance.permute(0, 2, 3, 1)
        if self.text_projection is None:
            text = text[..., :0]
        else:
            text = F.normalize(text, dim=-1).to(dtype)
            text = self.text_projection(text).relu()
        for layer in self.layers:
            x = layer(x, appearance, text)
        return x

    def _decode(self, x: Tensor, guidance: Sequence[Tensor]) -> Tensor:
        """Upsample K class maps (B, K, h, w, E) to logits (B, K, 4h, 4w).

        ``guidance`` contains one map for each upsampling stage, from coarse to
        fine.
        """
        blocks: Iterable[Any] = self.upsample_blocks
        prepared = [
            block.prepare(projection(guide).relu())
            for block, projection, guide in zip(
                blocks, self.decoder_projections, guidance
            )
        ]

        def decode(part: Tensor) -> Tensor:
            part = part.contiguous().permute(0, 1, 4, 2, 3)
            for block, shared in zip(self.upsample_blocks, prepared):
                part = block(part, *shared)
            logits = self.head(self.dropout(part.flatten(0, 1)))
            return logits[:, 0].unflatten(0, part.shape[:2])

        return apply_to_chunks(decode, x)


class AggregatorLayer(nn.Module):
    """Spatial aggregation, followed by class aggregation.

    Args:
        spatial (SpatialAggregation): Module that is applied first.
        classwise (ClasswiseAggregation): Module that is applied second.
    """

    def __init__(
        self, spatial: SpatialAggregation, classwise: ClasswiseAggregation
    ) -> None:
        super().__init__()
        self.spatial = spatial
        self.classwise = classwise

    def forward(self, x: Tensor, appearance: Tensor, text: Tensor) -> Tensor:
        """Refine class maps.

        Args:
            x (Tensor): Maps of K classes and E channels, (B, K, h, w, E).
            appearance (Tensor): Appearance guidance of G channels, (B, h, w,
                G).
            text (Tensor): Text guidance of G channels, (B, K, G); or (1, K,
                G) if all images have the same class texts.

        Returns:
            Tensor: Refined class maps, (B, K, h, w, E).
        """
        return self.classwise(self.spatial(x, appearance), text)


@in_float32
def cost_volume(image: Tensor, text: Tensor) -> Tensor:
    """Cosine similarities of patch embeddings and text embeddings.

    Args:
        image (Tensor): Embeddings of h x w patches, (B, C, h, w).
        text (Tensor): Text embeddings of T class texts and P prompts, (T, P,
            C).

    Returns:
        Tensor: Cosine similarities, (B, T, P, h, w) float32.
    """
    image = F.normalize(image, dim=1)
    text = F.normalize(text, dim=-1)
    return torch.einsum('bchw,tpc->btphw', image, text)


def select_classes(cost: Tensor, count: int) -> Tensor:
    """Select the classes with the highest similarity to an image.

    The similarity of a class to an image is the largest similarity of one of
    its prompts to one of the patches.

    Args:
        cost (Tensor): Cosine similarities of T class texts and P prompts, (B,
            T, P, h, w).
        count (int): Number of classes to select.

    Returns:
        Tensor: Indices of the selected classes, ascending, (B, count) int64.
    """
    best = cost.flatten(2).amax(dim=-1)
    return best.topk(count, dim=1, sorted=False).indices.sort(dim=1).values
