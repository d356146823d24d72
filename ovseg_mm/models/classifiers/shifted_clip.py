# SPDX-License-Identifier: Apache-2.0
"""CLIP that learns to read masked crops, with contextual shift.

Letters: B pairs of a process, A pairs of all processes, T class texts, C
embedding width, S side of a crop in pixels.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_rank, get_world_size
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.inference import in_float32
from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import Vocabulary, load_vocabulary

from ..clip_towers import with_tower_options
from ..text_encoder import TextBank, tokenize_prompts
from ..text_model import TextModel

# The largest temperature that training reaches.
MAX_SCALE = 100.0


@MODELS.register_module()
class ShiftedCLIP(TextModel):
    """The region tower of SCAN, fine-tuned on masked crops and captions.

    `Open-Vocabulary Segmentation with Semantic-Assisted Calibration
    <https://arxiv.org/abs/2312.04089>`_. The trained tower replaces the
    region tower of a segmentor, see ``python -m ovseg_mm convert
    --fuse-clip``; modules have the same names in both.

    Args:
        region_encoder (dict): Config of the :class:`CLIPRegionEncoder`, with
            ``shift``; its tower is trained.
        context_encoder (dict): Config of the :class:`CLIPContextEncoder`.
        text_encoder (dict): Config of the text tower, not trained.
        vocabulary (Vocabulary | str | list | dict): Class texts that crops
            are tested with, see :func:`ovseg_mm.vocabulary.load_vocabulary`.
        clip (dict): See :class:`BaseOpenVocabSegmentor`.
        prompts (dict): Arguments of the :class:`TextBank` of the tests;
            captions of training are encoded as they are.
        data_preprocessor (dict, optional): Config of the preprocessor, which
            only moves data: towers normalise.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    # Name of the method in messages about checkpoints.
    method = 'SCAN, CLIP with contextual shift'

    option_dicts: ClassVar[dict] = dict(prompts=TextBank)

    def __init__(
        self,
        region_encoder: dict,
        context_encoder: dict,
        text_encoder: dict,
        vocabulary: Vocabulary | str | list | dict,
        clip: dict | None = None,
        prompts: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.clip = dict(clip or {})
        self.region_encoder, self.context_encoder, self.text_encoder = (
            MODELS.build(with_tower_options(cfg, self.clip))
            for cfg in (region_encoder, context_encoder, text_encoder)
        )
        if self.region_encoder.shift is not None:
            self.context_encoder.check_blocks(
                self.region_encoder.shift.blocks, 'region_encoder.shift'
            )
        if self.text_encoder.trainable:
            raise InputError(
                'the text tower is not trained with masked crops; set '
                "text_encoder.finetune='none'"
            )
        # CLIP's own initial value.
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.text_bank = TextBank(**(prompts or {}))
        self.vocabulary = load_vocabulary(vocabulary)

    @property
    def train_vocabulary(self) -> Vocabulary:
        """Vocabulary of the tests; training captions may be any texts."""
        return self.vocabulary

    def init_towers(self) -> dict[str, Tensor]:
        """Fill the CLIP towers and the temperature.

        Returns:
            dict[str, Tensor]: See :func:`init_clip_towers`.
        """
        weights = super().init_towers()
        if 'logit_scale' in weights:
            self.logit_scale.data.copy_(weights['logit_scale'])
        return weights

    def forward(
        self,
        crops: Tensor,
        masks: Tensor,
        images: Tensor,
        captions: Sequence[str],
        mode: str = 'tensor',
        crop_paths: Sequence[str] = (),
    ) -> Tensor | dict[str, Tensor] | list[dict]:
        """Compare crops with texts.

        Args:
            crops (Tensor): RGB in [0, 255], filled outside of the masks,
                (B, 3, S, S).
            masks (Tensor): Pixels of the region, (B, S, S) bool.
            images (Tensor): The whole images, squeezed, RGB in [0, 255],
                (B, 3, S, S).
            captions (Sequence[str]): Caption of each crop; in tests, names
                of the vocabulary.
            mode (str): ``'loss'``, ``'predict'`` or ``'tensor'``.
            crop_paths (Sequence[str]): Files of the crops, for messages.

        Returns:
            Embeddings of the crops, (B, C), normalised, for ``'tensor'``;
            the contrastive loss for ``'loss'``; for ``'predict'``, a dict
            with ``crop_label`` and ``pred_crop_label`` for each crop.

        Raises:
            InputError: If a caption of a test is not a name of the
                vocabulary.
        """
        if mode == 'predict':
            # Before the towers run, which takes longer.
            labels = [self._label(caption) for caption in captions]
        image = self._encode(crops, masks, images)
        if mode == 'tensor':
            return image
        if mode == 'loss':
            return dict(loss=self._contrast(image, self._texts(captions)))
        text = self.text_embeddings(self.vocabulary)[:, 0]
        found = _products(image, text).argmax(dim=1).tolist()
        return [
            dict(crop_label=label, pred_crop_label=prediction)
            for label, prediction in zip(labels, found)
        ]

    def similarities(self, image: Tensor, text: Tensor) -> Tensor:
        """Scaled cosines of unit embeddings, (A, A)."""
        with torch.no_grad():
            self.logit_scale.clamp_(0, math.log(MAX_SCALE))
        return _products(self.logit_scale.exp() * image, text)

    def _encode(self, crops: Tensor, masks: Tensor, images: Tensor) -> Tensor:
        encoder = self.region_encoder
        crops = (crops - encoder.mean) / encoder.std
        class_tokens = self.context_encoder(images.float()).class_tokens()
        return F.normalize(encoder.encode(crops, masks, class_tokens), dim=1)

    @torch.no_grad()
    def _texts(self, captions: Sequence[str]) -> Tensor:
        tower: Any = self.text_encoder
        tokens = tokenize_prompts(list(captions), tower.context_length)
        text = tower(tokens.to(self.logit_scale.device))
        return F.normalize(text, dim=1)

    def _contrast(self, image: Tensor, text: Tensor) -> Tensor:
        """Mean cross-entropy of crops to captions and of captions to crops."""
        logits = self.similarities(_gathered(image), _gathered(text)).float()
        targets = torch.arange(len(logits), device=logits.device)
        losses = (
            F.cross_entropy(part, targets) for part in (logits, logits.t())
        )
        total: Any = sum(losses)
        return total / 2

    def _label(self, caption: str) -> int:
        if caption not in self.vocabulary.names:
            raise InputError(
                f'the test caption {caption!r} is not one of the '
                f'{self.vocabulary.num_texts} class names of '
                f'{self.vocabulary.source}; make the crops with '
                'tools/dataset_converters/crop_captions.py, or give the '
                'vocabulary that they were made with'
            )
        return self.vocabulary.names.index(caption)


def _gathered(x: Tensor) -> Tensor:
    """Rows (A, C) of all processes; only rows of this one have a gradient."""
    if get_world_size() == 1:
        return x
    parts = all_gather(x.detach())
    parts[get_rank()] = x
    return torch.cat(parts)


@in_float32
def _products(image: Tensor, text: Tensor) -> Tensor:
    """Products (A, B) of all images (A, C) with all texts (B, C)."""
    return image @ text.t()
