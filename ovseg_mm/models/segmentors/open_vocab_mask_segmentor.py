# SPDX-License-Identifier: Apache-2.0
"""Segmentor for methods that classify mask proposals.

Letters: B images, V views of an image, Q mask proposals, T class texts, H, W
height and width in pixels, h, w height and width of a mask before resizing.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ovseg_mm.inference import FLIPPED_AXES, contenders, view_logits
from ovseg_mm.structures import MaskVotes, PixelFeatures, ViewLayout
from ovseg_mm.utils.resize import resize
from ovseg_mm.vocabulary import Vocabulary

from ..clip_towers import with_tower_options
from ..decode_heads import BaseMaskHead
from ..text_encoder import TextBank, TextSide
from ..utils import chunk_size, is_exporting
from .base import BaseOpenVocabSegmentor
from .sample_geometry import flip_of, original_size


@MODELS.register_module()
class OpenVocabMaskSegmentor(BaseOpenVocabSegmentor):
    """Segmentor that proposes masks and classifies them by text.

    The backbone and ``neck``, a pixel decoder, compute :class:`PixelFeatures`.
    From these features, ``decode_head``, a :class:`BaseMaskHead`, predicts
    mask proposals and their class logits. Optionally, ``region_encoder``
    (CLIP) encodes the image region under each mask, and the embedding of the
    region is compared with the texts too. The results are the class weights:
    one weight of each proposal for each class, see :class:`MaskVotes`.

    ``test_cfg`` has two more options than :class:`BaseOpenVocabSegmentor`:

    - ``keep_proposals``: number of mask proposals to store in a sample as
      ``proposals``, see :func:`deciding_proposals`. Only for ``mode='whole'``.
    - ``prune_regions``: factor in [0, 1], default 0. Weak proposals are left
      out, and their regions are not encoded. This saves time and may change
      labels. The vote of a proposal at a pixel is its mask probability times
      its largest class weight, computed before regions are encoded. A proposal
      is weak if its vote at every pixel is smaller than this factor times the
      largest vote at the pixel. With 0, no proposal is left out.

    Args:
        *args (Any): See :class:`BaseOpenVocabSegmentor`.
        region_encoder (dict, optional): Config of the
            :class:`CLIPRegionEncoder`. None: regions are not encoded.
        region_text_encoder (dict, optional): Config of a text tower for
            regions. None: proposals and regions share the text embeddings.
        region_prompts (dict, optional): Arguments of the :class:`TextBank`
            that belongs to ``region_text_encoder``.
        context_encoder (dict, optional): Config of a
            :class:`CLIPContextEncoder`, which is not trained. None: the head
            and the regions get no features of the whole image.
        size_divisor (int): Normalised images are padded with zeros on the
            right and at the bottom, to multiples of ``size_divisor``.
        **kwargs (Any): See :class:`BaseOpenVocabSegmentor`.
    """

    decode_head: BaseMaskHead
    head_class = BaseMaskHead
    not_called = dict(encode_decode='encode_views')

    def __init__(
        self,
        *args: Any,
        region_encoder: dict | None = None,
        region_text_encoder: dict | None = None,
        region_prompts: dict | None = None,
        context_encoder: dict | None = None,
        size_divisor: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.test_cfg.get('logit_scale'):
            raise ValueError(
                'test_cfg.logit_scale is only for dense heads, since scores '
                'of mask heads are sums of probabilities; remove it'
            )
        if size_divisor < 1:
            raise ValueError(
                f'size_divisor={size_divisor}; expected 1 (no padding) or more'
            )
        self.size_divisor = size_divisor
        self.region_encoder: nn.Module | None = None
        self.region_text_encoder: nn.Module | None = None
        self.context_encoder: nn.Module | None = None
        if context_encoder is not None:
            self.context_encoder = MODELS.build(
                with_tower_options(context_encoder, self.clip)
            )
        if region_encoder is not None:
            self.region_encoder = MODELS.build(
                with_tower_options(region_encoder, self.clip)
            )
        if region_text_encoder is not None:
            self.region_text_encoder = MODELS.build(
                with_tower_options(region_text_encoder, self.clip)
            )
            self.region_text_bank = TextBank(**(region_prompts or {}))
        self._check_regions()
        self._check_context()
        if not any(p.requires_grad for p in self.parameters()):
            # The base class has filled only the towers that it knows.
            self.init_towers()

    @property
    def region_text_side(self) -> TextSide:
        """Text tower and text bank for the comparison with regions."""
        if self.region_text_encoder is None:
            return self.text_side
        return TextSide(self.region_text_encoder, self.region_text_bank)

    @property
    def text_sides(self) -> list[TextSide]:
        """``text_side``, and ``region_text_side`` if the two are different."""
        if self.region_text_encoder is None:
            return [self.text_side]
        return [self.text_side, self.region_text_side]

    def region_text_embeddings(self, vocabulary: Vocabulary) -> Tensor:
        """Get the text embeddings for the comparison with regions.

        Args:
            vocabulary (Vocabulary): The T class texts.

        Returns:
            Tensor: Text embeddings (T, P, C), for P prompts and width C.
        """
        return self.region_text_side.embeddings(
            vocabulary, self.data_preprocessor.device
        )

    def extract_feat(self, inputs: Tensor) -> PixelFeatures:
        """Pad images (see ``size_divisor``) and compute their features.

        Args:
            inputs (Tensor): Normalised images, (B, 3, H, W).

        Returns:
            PixelFeatures: Features of the padded images.
        """
        padded = _padded(inputs, self.size_divisor)
        feats: Any = super().extract_feat(padded)
        if self.context_encoder is None:
            return feats
        context = self.context_encoder(self._pixels(inputs), padded.shape[2:])
        return feats._replace(context=context)

    def encode_decode(
        self, inputs: Tensor, batch_img_metas: list[dict] | None = None
    ) -> Tensor:
        """Scores (B, T, H, W) of T class texts in B images (B, 3, H, W)."""
        return view_logits(self._votes(inputs), slice(None))

    def _losses(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        # Padded pixels are ignored, so that no target mask has them.
        labels = _padded(
            labels, self.size_divisor, self.train_vocabulary.ignore_label
        )
        return super()._losses(inputs, labels)

    def encode_views(self, views: list[Tensor]) -> list[MaskVotes]:
        """Compute the mask proposals of all views, and classify them.

        Args:
            views (list[Tensor]): For each image, its V views, (V, 3, H, W).

        Returns:
            list[MaskVotes]: For each image, the proposals of its views.
        """
        return [self._votes(part) for part in views]

    def _votes(self, views: Tensor) -> MaskVotes:
        """Compute mask proposals of V views (V, 3, H, W); classify them."""
        size, head = (views.shape[2], views.shape[3]), self.decode_head
        feats = self.extract_feat(views)
        texts = self.text_embeddings(self.scored_vocabulary)
        predictions = head(feats, texts)
        masks = self._probabilities(predictions.mask_logits[-1].float(), size)
        votes = [
            self._pruned_vote(view, logits, mask, self._tokens(feats, index))
            for index, (view, logits, mask) in enumerate(
                zip(views, predictions.class_logits[-1], masks)
            )
        ]
        weights, proposal_probs, region_probs = map(torch.stack, zip(*votes))
        return MaskVotes(weights, masks, proposal_probs, region_probs)

    def _probabilities(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Convert mask logits (V, Q, h, w) of padded views to probabilities.

        The logits are resized to (V, Q, H, W), a few at a time to save memory.
        """
        masks = logits.new_empty(*logits.shape[:2], *size)
        step = masks.shape[1] if is_exporting() else chunk_size(masks[0], 0)
        for index, view in enumerate(logits):
            for start in range(0, len(view), step):
                part = slice(start, start + step)
                masks[index, part] = self._full_size(
                    view[part], size
                ).sigmoid()
        return masks

    def _full_size(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize mask logits (Q, h, w) to the size of a view, (Q, H, W)."""
        divisor = self.size_divisor
        height, width = (-(-side // divisor) * divisor for side in size)
        padded = resize(logits[None], (height, width))
        return padded[0, :, : size[0], : size[1]]

    def _pruned_vote(
        self,
        view: Tensor,
        class_logits: Tensor,
        masks: Tensor,
        class_tokens: dict[int, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Do the same as :meth:`_vote`, but give weak proposals weight 0."""
        head, share = self.decode_head, self.test_cfg.get('prune_regions', 0)
        if not (share and head.uses_regions):
            return self._vote(view, class_logits, masks, class_tokens)
        proposal_probs = class_logits.float().softmax(dim=1)[:, :-1]
        weights = head.class_weights(
            class_logits,
            torch.zeros_like(proposal_probs),
            torch.ones_like(proposal_probs[:, 0], dtype=torch.bool),
            self._seen(class_logits.device),
        )
        kept = contenders(weights.amax(dim=1), masks, share)
        region_probs = torch.full_like(proposal_probs, torch.nan)
        weights = torch.zeros_like(proposal_probs)
        weights[kept], _, region_probs[kept] = self._vote(
            view, class_logits[kept], masks[kept], class_tokens
        )
        return weights, proposal_probs, region_probs

    def _vote(
        self,
        view: Tensor,
        class_logits: Tensor,
        masks: Tensor,
        class_tokens: dict[int, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Classify the Q proposals of one view.

        Returns the tensors ``weights``, ``proposal_probs`` and
        ``region_probs`` of :class:`MaskVotes`, (Q, T) each.
        """
        head = self.decode_head
        proposal_probs = class_logits.float().softmax(dim=1)[:, :-1]
        region_probs = torch.full_like(proposal_probs, torch.nan)
        if not head.uses_regions:
            weights = head.class_weights(class_logits)
            return weights, proposal_probs, region_probs
        assert self.region_encoder is not None, 'see _check_regions'
        regions = self.region_encoder(self._pixels(view), masks, class_tokens)
        text = self.region_text_embeddings(self.scored_vocabulary)
        logits = head.region_logits(regions.embeddings, text)
        region_probs[regions.valid] = logits.float().softmax(dim=1)
        weights = head.class_weights(
            class_logits,
            logits,
            regions.valid,
            self._seen(class_logits.device),
        )
        return weights, proposal_probs, region_probs

    def write_result(
        self,
        sample: SegDataSample,
        encoded: Tensor | MaskVotes,
        layout: ViewLayout,
        img: Tensor,
    ) -> None:
        """Write the label map, scores and ``proposals`` to a sample."""
        super().write_result(sample, encoded, layout, img)
        count = self.test_cfg.get('keep_proposals', 0)
        if count and layout.window is None:
            sample.proposals = deciding_proposals(
                MaskVotes(*(part[0] for part in encoded)),
                count,
                original_size(sample, img),
                self.vocabulary.prompt_to_label,
                flip_of(sample),
            )

    def _pixels(self, view: Tensor) -> Tensor:
        """Convert normalised images, (..., 3, H, W), to RGB in [0, 255]."""
        preprocessor = self.data_preprocessor
        return view * preprocessor.std + preprocessor.mean

    @staticmethod
    def _tokens(feats: PixelFeatures, view: int) -> dict[int, Tensor] | None:
        """Class tokens (1, width) of one view; the keys are block indices."""
        if feats.context is None:
            return None
        return feats.context.class_tokens(slice(view, view + 1))

    def _seen(self, device: torch.device) -> Tensor | None:
        """True for texts of seen labels, (T,) bool; None if all are seen."""
        if not self.vocabulary.unseen:
            return None
        return self.seen_texts(device)

    def _check_regions(self) -> None:
        if not self.decode_head.uses_regions:
            return
        if self.region_encoder is None:
            raise ValueError(
                'the decode head uses regions, but the model has no '
                'region_encoder; add one, or set '
                'decode_head.ensemble_weight=None'
            )
        if not hasattr(self.data_preprocessor, 'mean'):
            raise ValueError(
                'region_encoder needs mean and std in data_preprocessor; add '
                'both'
            )

    def _check_context(self) -> None:
        needed = {'decode_head': self.decode_head.context_blocks}
        regions: Any = self.region_encoder
        if regions is not None and regions.shift:
            needed['region_encoder.shift'] = regions.shift.blocks
        context: Any = self.context_encoder
        for user, blocks in needed.items():
            if blocks and context is None:
                raise ValueError(
                    f'{user} uses CLIP features of the whole image, but the '
                    'model has no context_encoder; add one'
                )
            if context is not None:
                context.check_blocks(blocks, user)


def deciding_proposals(
    votes: MaskVotes,
    count: int,
    size: tuple[int, int],
    prompt_to_label: Sequence[int],
    flip: str | None = None,
) -> InstanceData:
    """Pick the proposals that decide the largest numbers of pixels.

    At a pixel, the deciding proposal has the largest product of two numbers:
    its mask probability, and its largest weight for a class.

    Args:
        votes (MaskVotes): Proposals of one view. The tensors lack the axis V.
        count (int): Number of proposals to pick. Proposals that decide no
            pixel are left out.
        size (tuple[int, int]): Height and width of the returned masks.
        prompt_to_label (Sequence[int]): Label of each class text.
        flip (str, optional): Direction of the flip to undo. None: no flip.

    Returns:
        InstanceData: The n picked proposals, sorted by number of pixels, most
        pixels first. ``masks`` are (n, H, W) bool. ``labels`` and ``scores``,
        (n,), are the best label and its probability from the embedding of the
        proposal. ``region_labels`` and ``region_scores``, (n,), are the best
        label and its probability from the image region under the mask. If the
        region was not encoded, the score is NaN and the label is meaningless.
    """
    best = votes.weights.amax(dim=1)
    owners = (votes.masks * best[:, None, None]).argmax(dim=0)
    areas = torch.bincount(owners.flatten(), minlength=len(best))
    chosen = areas.argsort(descending=True)[:count]
    chosen = chosen[areas[chosen] > 0]
    masks = votes.masks[chosen]
    if flip:
        masks = masks.flip(FLIPPED_AXES[flip])
    table = torch.tensor(prompt_to_label, device=best.device)
    # The texts of test_cfg.others come last and have no label.
    texts = slice(len(table))
    scores, labels = votes.proposal_probs[chosen, texts].max(dim=1)
    region_probs = votes.region_probs[chosen, texts]
    region_scores, region_labels = region_probs.max(dim=1)
    return InstanceData(
        masks=resize(masks[None], size)[0] > 0.5,
        labels=table[labels],
        scores=scores,
        region_labels=table[region_labels],
        region_scores=region_scores,
    )


def _padded(x: Tensor, divisor: int, value: float = 0) -> Tensor:
    """Pad a tensor, (..., H, W), to multiples of ``divisor``."""
    bottom, right = (-side % divisor for side in x.shape[-2:])
    return F.pad(x, (0, right, 0, bottom), value=value)
