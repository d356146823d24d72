# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning of CLIP on masked crops, with the contextual shift of SCAN.

The contextual shift replaces some background patches of a crop by the class
token of the whole image.

Letters: B pairs of a crop and a caption on this process, A pairs on all
processes, T class texts, C embedding width, S side of a crop in pixels.
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

# The largest factor of the cosine similarities in training.
MAX_SCALE = 100.0


@MODELS.register_module()
class ShiftedCLIP(TextModel):
    """The region tower of SCAN, fine-tuned on masked crops and captions.

    `Open-Vocabulary Segmentation with Semantic-Assisted Calibration
    <https://arxiv.org/abs/2312.04089>`_. After training, ``python -m ovseg_mm
    convert --fuse-clip`` copies the tower into the checkpoint of a SCAN
    segmentor, whose modules have the same names.

    Args:
        region_encoder (dict): Config of the :class:`CLIPRegionEncoder`, whose
            tower is trained. Its option ``shift`` turns on the contextual
            shift.
        context_encoder (dict): Config of the :class:`CLIPContextEncoder`,
            which computes the class tokens of whole images for the contextual
            shift.
        text_encoder (dict): Config of the text tower, which must not be
            trained (``finetune='none'``).
        vocabulary (Vocabulary | str | list | dict): Class texts of validation
            and test, see :func:`ovseg_mm.vocabulary.load_vocabulary`.
        clip (dict): Architecture and weights of the CLIP towers, with the
            keys that :class:`BaseOpenVocabSegmentor` lists.
        prompts (dict): Arguments of the :class:`TextBank`, used for
            ``vocabulary``. In training, captions are encoded as they are,
            without a template.
        data_preprocessor (dict, optional): Config of the preprocessor, which
            must not normalise: this model normalises the crops and images.
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
                'text_encoder has trainable parameters, but ShiftedCLIP '
                'does not train the text tower; set '
                "text_encoder.finetune='none'"
            )
        # CLIP's own initial value.
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.text_bank = TextBank(**(prompts or {}))
        self.vocabulary = load_vocabulary(vocabulary)

    @property
    def train_vocabulary(self) -> Vocabulary:
        """Same as ``vocabulary``, since training itself uses no class texts.

        In training, crops are compared with captions.
        """
        return self.vocabulary

    def init_towers(self) -> dict[str, Tensor]:
        """Load CLIP's weights into the towers and ``logit_scale``.

        Returns:
            dict[str, Tensor]: CLIP's weights by name; empty if ``clip`` does
            not choose weights.
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
        """Encode crops and compare them with captions or class texts.

        The argument ``mode`` selects the comparison.

        Args:
            crops (Tensor): Crops, RGB in [0, 255], with a constant colour
                outside the masks, (B, 3, S, S), S pixels a side.
            masks (Tensor): True at the pixels of the region, (B, S, S) bool.
            images (Tensor): Whole images, resized to a square without
                keeping the aspect ratio, RGB in [0, 255], (B, 3, S, S).
            captions (Sequence[str]): Caption of each crop. For
                ``'predict'``, captions must be class names of the
                vocabulary.
            mode (str): ``'loss'`` compares crops with captions, for training.
                ``'predict'`` compares crops with all class texts, for
                validation and test. ``'tensor'`` only encodes the crops.
            crop_paths (Sequence[str]): Files of the crops. Not used here, but
                reported if the loss is not finite.

        Returns:
            For ``'tensor'``, normalised embeddings of the crops, (B, C). For
            ``'loss'``, a dict with the contrastive loss as ``loss``. For
            ``'predict'``, a list with one dict for each crop. The dict has the
            label of the crop (``crop_label``) and the predicted label
            (``pred_crop_label``).

        Raises:
            InputError: If ``mode`` is ``'predict'`` and a caption is not a
                class name of the vocabulary.
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
        """Compute the logits of all pairs of a crop and a caption.

        A logit is the cosine similarity of a pair, multiplied by the learned
        factor ``exp(logit_scale)`` of CLIP. The factor is first limited to
        [1, 100], which changes the parameter ``logit_scale`` in place.

        Args:
            image (Tensor): Normalised embeddings of A crops, of width C,
                (A, C).
            text (Tensor): Normalised embeddings of A captions, (A, C).

        Returns:
            Tensor: Logits with a row for each crop and a column for each
            caption, (A, A).
        """
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
        """Contrastive loss of crops and their captions, a scalar.

        The loss is the mean of two cross-entropies. The first classifies each
        crop among the captions of all crops. The second classifies each
        caption among all crops.
        """
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
                f'{self.vocabulary.source}; set the vocabulary that was used '
                'to make the crops, or make the crops again with '
                'tools/dataset_converters/crop_captions.py'
            )
        return self.vocabulary.names.index(caption)


def _gathered(x: Tensor) -> Tensor:
    """Gather the rows of x from all processes.

    Only the rows of this process get gradients.
    """
    if get_world_size() == 1:
        return x
    parts = all_gather(x.detach())
    parts[get_rank()] = x
    return torch.cat(parts)


@in_float32
def _products(image: Tensor, text: Tensor) -> Tensor:
    """Inner products (M, N) of embeddings (M, C) and embeddings (N, C)."""
    return image @ text.t()
