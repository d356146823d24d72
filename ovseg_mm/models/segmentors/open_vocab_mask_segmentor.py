# SPDX-License-Identifier: Apache-2.0
"""Segmentor of methods that classify mask proposals.

Letters: B images, V views of an image, Q proposals, T class texts, H, W
pixels.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from ovseg_mm.inference import resize
from ovseg_mm.vocabulary import Vocabulary

from ..clip_towers import with_tower_options
from ..necks import PixelFeatures
from ..text_encoder import TextBank
from .base import BaseOpenVocabSegmentor


class MaskVotes(NamedTuple):
    """What the views of one image have been found to show.

    The score of class t at a pixel is the sum over proposals of
    ``weights[q, t] * masks[q]``; it is not computed for all classes at once.

    Attributes:
        weights (Tensor): (V, Q, T).
        masks (Tensor): Probabilities at the size of the view, (V, Q, H, W).
    """

    weights: Tensor
    masks: Tensor


@MODELS.register_module()
class OpenVocabMaskSegmentor(BaseOpenVocabSegmentor):
    """Mask proposals, classified by text and by CLIP on their regions.

    The backbone's maps go through ``neck``, a pixel decoder that gives
    :class:`PixelFeatures`, to ``decode_head`` (see :class:`ZSSegHead` for
    what it must offer). Its masks and the image go to ``region_encoder``,
    whose regions are compared with the texts. See
    :class:`BaseOpenVocabSegmentor` for the other arguments; of the test
    options, ``keep_proposals`` gives each sample ``proposals`` beside its
    label map.

    Args:
        region_encoder (dict, optional): Config of the
            :class:`CLIPRegionEncoder`. None: the head does without.
        region_text_encoder (dict, optional): Config of a text tower of the
            regions' own. None: they are compared with the same texts.
        region_prompts (dict, optional): Arguments of that tower's
            :class:`TextBank`.
        context_encoder (dict, optional): Config of a
            :class:`CLIPContextEncoder`, whose tower is not trained. None:
            head and regions do without.
        size_divisor (int): Normalised images are padded with zeros on the
            right and at the bottom to a multiple of it.
    """

    def __init__(
        self,
        *args,
        region_encoder: dict | None = None,
        region_text_encoder: dict | None = None,
        region_prompts: dict | None = None,
        context_encoder: dict | None = None,
        size_divisor: int = 32,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.size_divisor = size_divisor
        self.region_encoder = self.region_text_encoder = None
        self.context_encoder = None
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

    def region_text_embeddings(self, vocabulary: Vocabulary) -> Tensor:
        """Text embeddings that regions are compared with, (T, P, C)."""
        if self.region_text_encoder is None:
            return self.text_embeddings(vocabulary)
        return self.region_text_bank(self.region_text_encoder, vocabulary)

    def prepare_text(self) -> None:
        """Compute the text embeddings of the vocabulary, on all ranks."""
        super().prepare_text()
        if self.region_text_encoder is not None:
            self.region_text_bank.prepare(
                self.region_text_encoder, self.vocabulary
            )

    def train(self, mode: bool = True) -> 'OpenVocabMaskSegmentor':
        """Switch the mode; text embeddings of before are forgotten."""
        if (mode or self.training) and self.region_text_encoder is not None:
            self.region_text_bank.clear()
        return super().train(mode)

    def extract_feat(self, inputs: Tensor) -> PixelFeatures:
        """Features of images (B, 3, H, W), padded as need be."""
        padded = _padded(inputs, self.size_divisor)
        feats = super().extract_feat(padded)
        if self.context_encoder is None:
            return feats
        context = self.context_encoder(self._pixels(inputs), padded.shape[2:])
        return feats._replace(context=context)

    def encode_decode(
        self, inputs: Tensor, batch_img_metas: list[dict] | None = None
    ) -> Tensor:
        """Scores of views, (B, 3, H, W) to (B, T, H, W)."""
        votes = self._votes(inputs)
        return self._view_logits(votes, slice(0, self.vocabulary.num_texts))

    def _losses(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        # Of what is padded nothing is to be proposed.
        labels = _padded(
            labels, self.size_divisor, self.train_vocabulary.ignore_label
        )
        return super()._losses(inputs, labels)

    def _encode_views(self, views: list[Tensor]) -> list[MaskVotes]:
        return [self._votes(part) for part in views]

    def _view_logits(self, encoded: MaskVotes, classes: slice) -> Tensor:
        weights = encoded.weights[:, :, classes]
        return torch.einsum('vqt,vqhw->vthw', weights, encoded.masks)

    def _votes(self, views: Tensor) -> MaskVotes:
        """Proposals of views (V, 3, H, W) and what they vote for."""
        size, head = views.shape[2:], self.decode_head
        feats = self.extract_feat(views)
        predictions = head(feats, self.text_embeddings(self.vocabulary))
        masks = torch.stack(
            [
                self._full_size(logits, size).sigmoid()
                for logits in predictions.mask_logits[-1].float()
            ]
        )
        weights = [
            self._class_weights(view, logits, mask, self._tokens(feats, index))
            for index, (view, logits, mask) in enumerate(
                zip(views, predictions.class_logits[-1], masks)
            )
        ]
        return MaskVotes(torch.stack(weights), masks)

    def _full_size(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Mask logits (Q, h, w) to (Q, H, W)."""
        divisor = self.size_divisor
        padded = [-(-side // divisor) * divisor for side in size]
        return resize(logits[None], padded)[0, :, : size[0], : size[1]]

    def _class_weights(
        self,
        view: Tensor,
        class_logits: Tensor,
        masks: Tensor,
        class_tokens: dict[int, Tensor] | None,
    ) -> Tensor:
        """Votes (Q, T) of the proposals of one view."""
        head = self.decode_head
        if not head.uses_regions:
            return head.class_weights(class_logits)
        regions = self.region_encoder(self._pixels(view), masks, class_tokens)
        text = self.region_text_embeddings(self.vocabulary)
        return head.class_weights(
            class_logits,
            head.region_logits(regions.embeddings, text),
            regions.valid,
            self._seen(class_logits.device),
        )

    def _pixels(self, view: Tensor) -> Tensor:
        """RGB in [0, 255] of normalised views (..., 3, H, W)."""
        preprocessor = self.data_preprocessor
        return view * preprocessor.std + preprocessor.mean

    @staticmethod
    def _tokens(feats: PixelFeatures, view: int) -> dict[int, Tensor] | None:
        """Class tokens of one view, (1, D) behind each block."""
        if feats.context is None:
            return None
        return feats.context.class_tokens(slice(view, view + 1))

    def _seen(self, device: torch.device) -> Tensor | None:
        """Which class texts are seen, (T,) bool; None if nobody says."""
        if not self.vocabulary.unseen:
            return None
        seen = set(self.vocabulary.seen)
        flags = [label in seen for label in self.vocabulary.prompt_to_label]
        return torch.tensor(flags, device=device)

    def _check_regions(self) -> None:
        if not self.decode_head.uses_regions:
            return
        if self.region_encoder is None:
            raise ValueError(
                'the decode head weighs regions, but there is no '
                'region_encoder; give one, or set '
                'decode_head.ensemble_weight=None'
            )
        if not hasattr(self.data_preprocessor, 'mean'):
            raise ValueError(
                'regions need the data_preprocessor to have mean and std'
            )

    def _check_context(self) -> None:
        needed = {'decode_head': self.decode_head.context_blocks}
        if self.region_encoder is not None and self.region_encoder.shift:
            needed['region_encoder.shift'] = self.region_encoder.shift.blocks
        for user, blocks in needed.items():
            if blocks and self.context_encoder is None:
                raise ValueError(
                    f'{user} uses what CLIP says of the whole image, but '
                    'there is no context_encoder; give one'
                )
            if self.context_encoder is not None:
                self.context_encoder.check_blocks(blocks, user)


def _padded(x: Tensor, divisor: int, value: float = 0) -> Tensor:
    """Pad right and bottom of (..., H, W) to a multiple of ``divisor``."""
    bottom, right = (-side % divisor for side in x.shape[-2:])
    return F.pad(x, (0, right, 0, bottom), value=value)
