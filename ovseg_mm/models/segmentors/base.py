# SPDX-License-Identifier: Apache-2.0
"""Base class of the segmentors: construction, vocabularies and losses.

Letters: B images, T class texts, P prompts per class, L labels, C width of
the embeddings, H, W height and width in pixels.
"""

from typing import Any, ClassVar

import torch
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor, nn

from ovseg_mm.checkpoints import check_fit
from ovseg_mm.inference import HALF
from ovseg_mm.utils.config_types import type_of
from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import Vocabulary, load_vocabulary

from ..clip_towers import with_tower_options
from ..decode_heads import BaseOpenVocabHead
from ..decode_heads.mmseg_options import (
    check_mmseg_options,
    split_mmseg_options,
)
from ..text_encoder import TextBank
from ..utils import name_image_files
from .options import (
    check_speed_options,
    checked_clip,
    checked_test_cfg,
)
from .prediction import ViewPredictor
from .training_labels import (
    check_learns_unseen,
    check_trainable,
    numbering_of,
    training_labels,
)


class BaseOpenVocabSegmentor(ViewPredictor):
    """Base class of segmentors whose class texts can change at any time.

    Sub-classes implement :meth:`encode_decode`, which computes logits of the
    views of an image. ``decode_head.loss`` computes the losses.

    Args:
        backbone (dict): Config of the backbone.
        text_encoder (dict, optional): Config of the text tower. None if
            ``prompts.embeddings`` names a file of text embeddings.
        decode_head (dict): Config of the decode head.
        vocabulary (Vocabulary | str | list | dict): Class texts of validation,
            test and inference, see
            :func:`ovseg_mm.vocabulary.load_vocabulary`.
        train_vocabulary (Vocabulary | str | list | dict, optional): Class
            texts of the training labels. None: ``vocabulary``. Unseen labels
            become :data:`UNKNOWN` in the label maps, but their texts are used.
            The head must then have ``learns_unseen=True``: it computes pseudo
            labels for these pixels. To train without these texts, set
            ``dict(class_texts=..., subset='seen')``.
        clip (dict, optional): Options of CLIP: ``arch`` and ``pretrained``,
            names of open_clip; ``custom_clip_weights``, a file or folder to
            load instead of a download; ``finetune``, see
            :func:`freeze_except`. A tower uses ``arch``, ``pretrained`` and
            ``finetune`` of ``clip`` unless its own config has them.
        prompts (dict, optional): Arguments of :class:`TextBank`.
        neck (dict, optional): Config of the neck.
        data_preprocessor (dict, optional): Config of the preprocessor.
        auxiliary_head (None): Must be None; the decode head has all losses.
        pretrained (None): Must be None; MMSegmentation's APIs pass it.
        train_cfg (dict, optional): Unused; MMSegmentation passes it.
        test_cfg (dict, optional): Options of validation, test and inference:

            - ``mode``: ``'whole'`` (default), or ``'slide'`` for windows of
              ``crop_size`` with steps of ``stride``, both (height, width).
            - ``canvas``, ``global_view``, ``fit_windows``,
              ``window_divisor``: with windows, the arguments ``canvas``,
              ``global_view``, ``fit`` and ``divisor`` of
              :func:`sliding_views`. The divisor ``'patch'`` is the side of
              CLIP's patches.
            - ``window_batch``: number of views to encode at a time, default 8.
            - ``score_size``: see :func:`fuse_views`.
            - ``seen_penalty``: value to subtract from scores of seen classes.
            - ``threshold``: see :class:`Labelling`. Default for a vocabulary
              of one label: the threshold of the head; otherwise none.
            - ``logit_scale``, ``prob_thd``, ``area_thd``: ``scale``,
              ``least_prob`` and ``least_area`` of :class:`Labelling`.
            - ``background``: name of the background label, if the vocabulary
              has one; default ``'background'``.
            - ``others``: texts of other things, as a list or a vocabulary.
              Pixels where such a text has the best score get the background
              label, or no label if there is no background. Default: no texts,
              except as described for ``others_of_one``.
            - ``others_of_one``: default of ``others`` if the vocabulary has
              one label, which would win every pixel, as in a softmax over one
              text. If not set: the shipped list ``'background_words'``.
            - ``refine``: dict of ``steps`` and ``dilations`` of
              :class:`PixelRefiner`.
            - ``keep_scores``: whether samples get ``seg_logits``, (L, H, W)
              float32. Default: only for TTA models and ``mmseg.apis``.
            - ``top_scores``: number k; samples get the scores of the k best
              labels of each pixel.
            - ``max_words``: number k, only for CAT-Seg. In each view, only the
              k class texts with the highest similarity compete, which saves
              time and may change labels. Default: ``decode_head.pad_len``.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    head_class: type[nn.Module] = BaseOpenVocabHead
    """Class that the decode head must have."""

    option_dicts: ClassVar[dict] = dict(prompts=TextBank)
    """Arguments that are dicts of options, and the class that takes them."""

    def __init__(
        self,
        backbone: dict,
        text_encoder: dict | None,
        decode_head: dict,
        vocabulary: Vocabulary | str | list | dict,
        train_vocabulary: Vocabulary | str | list | dict | None = None,
        clip: dict | None = None,
        prompts: dict | None = None,
        neck: dict | None = None,
        data_preprocessor: dict | None = None,
        auxiliary_head: None = None,
        pretrained: None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        _refuse_mmseg_options(pretrained, auxiliary_head)
        decode_head, given = split_mmseg_options(decode_head)
        clip = checked_clip(clip)
        super().__init__(
            backbone=with_tower_options(backbone, clip),
            decode_head=decode_head,
            neck=neck,
            train_cfg=train_cfg,
            test_cfg=checked_test_cfg(test_cfg),
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self._check_parts()
        self.clip = clip
        self.text_bank = TextBank(**(prompts or {}))
        self.text_encoder = None
        if text_encoder is not None:
            self.text_encoder = MODELS.build(
                with_tower_options(text_encoder, clip)
            )
        elif self.text_bank.embeddings is None:
            raise ValueError(
                'text_encoder=None needs a file of text embeddings; set '
                'prompts.embeddings or a text_encoder'
            )
        self.set_vocabulary(vocabulary)
        self._train_vocabulary = self.vocabulary
        if train_vocabulary is not None:
            self._train_vocabulary = load_vocabulary(train_vocabulary)
            check_trainable(self._train_vocabulary)
        check_mmseg_options(given, self._train_vocabulary)
        # Number of labels that the training data use, set by VocabularyHook.
        # None: derived from the first batch.
        self.num_train_labels: int | None = None
        # MMSegmentation pads label maps with 255, which may be a class.
        if getattr(self.data_preprocessor, 'seg_pad_val', None) == 255:
            whole = self._train_vocabulary.whole or self._train_vocabulary
            self.data_preprocessor.seg_pad_val = whole.ignore_label
        # mmseg.apis do not initialise a model without a checkpoint.
        self._has_towers = False
        if not any(parameter.requires_grad for parameter in self.parameters()):
            self.init_towers()
            self._has_towers = True

    @property
    def train_vocabulary(self) -> Vocabulary:
        """Class texts of the training labels, one text per label.

        Raises:
            ValueError: If ``train_vocabulary`` was not given, and
                ``vocabulary`` has several texts per label.
        """
        check_trainable(self._train_vocabulary)
        return self._train_vocabulary

    @property
    def dataset_meta(self) -> dict:
        """Label names (``classes``) and ``palette`` for MMSegmentation's APIs.

        Both come from the vocabulary. MMSegmentation's APIs set this attribute
        to the classes in the checkpoint. This has no effect, because the
        vocabulary may differ.
        """
        meta = self.vocabulary.metainfo
        return dict(classes=meta['classes'], palette=meta['palette'])

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        pass

    @property
    def num_classes(self) -> int:
        """Number L of labels in the current vocabulary."""
        return self.vocabulary.num_labels

    @property
    def out_channels(self) -> int:
        """Number of channels of ``seg_logits``, one per label."""
        return self.vocabulary.num_labels

    def init_towers(self) -> dict[str, Tensor]:
        """Load CLIP's weights, unless the constructor has loaded them.

        Returns:
            dict[str, Tensor]: CLIP's weights by name; empty if nothing is
            loaded.
        """
        return {} if self._has_towers else super().init_towers()

    def set_vocabulary(
        self, vocabulary: Vocabulary | str | list | dict
    ) -> None:
        """Change the class texts of validation, test and inference.

        Args:
            vocabulary (Vocabulary | str | list | dict): Class texts, see
                :func:`ovseg_mm.vocabulary.load_vocabulary`.
        """
        vocabulary = load_vocabulary(vocabulary)
        if self.text_bank.synonyms == 'each':
            vocabulary = vocabulary.each_text()
        self.vocabulary = vocabulary
        self.decode_head.num_classes = vocabulary.num_labels

    def extract_feat(self, inputs: Tensor) -> tuple:
        """Compute the features of images.

        Args:
            inputs (Tensor): Normalised images, (B, 3, H, W). If the model is
                in half precision, the images are converted.

        Returns:
            tuple: Features of the backbone, or of the neck if there is one.
        """
        dtype = next(self.backbone.parameters()).dtype
        if dtype in HALF:
            inputs = inputs.to(dtype)
        return super().extract_feat(inputs)

    @name_image_files
    def loss(
        self, inputs: Tensor, data_samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            inputs (Tensor): Normalised images, (B, 3, H, W).
            data_samples (list[SegDataSample]): Samples with ``gt_sem_seg``.

        Returns:
            dict[str, Tensor]: Losses by name.

        Raises:
            InputError: If a label has no text in the training vocabulary, or
                if the vocabulary has unseen labels that the head cannot learn.
        """
        maps = [sample.gt_sem_seg.data[0] for sample in data_samples]
        labels = torch.stack(maps).long()
        vocabulary = self.train_vocabulary
        check_learns_unseen(self.decode_head, vocabulary)
        if self.num_train_labels is None:
            self.num_train_labels = numbering_of(labels, vocabulary)
        labels = training_labels(
            labels, data_samples, vocabulary, self.num_train_labels
        )
        return add_prefix(self._losses(inputs, labels), 'decode')

    def _losses(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Losses of images, (B, 3, H, W), with label maps, (B, H, W)."""
        vocabulary = self.train_vocabulary
        return self.decode_head.loss(
            self.extract_feat(inputs),
            self.text_embeddings(vocabulary),
            labels,
            vocabulary.ignore_label,
            vocabulary.unseen,
        )

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: Any
    ) -> None:
        """Raise if a checkpoint does not fit, for example lacks tensors.

        PyTorch and MMEngine call this method to load a checkpoint. Without the
        check, MMEngine would only log missing tensors and keep random weights.
        """
        tensors = {
            name[len(prefix) :]: value
            for name, value in state_dict.items()
            if name.startswith(prefix)
        }
        check_fit(self, tensors, 'the checkpoint')
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _check_parts(self) -> None:
        """Raise if images are normalised twice, or an option has no effect."""
        check_speed_options(self.test_cfg, self.decode_head)
        if getattr(self.backbone, 'normalises', False) and getattr(
            self.data_preprocessor, '_enable_normalize', False
        ):
            raise ValueError(
                f'{type(self.backbone).__name__} normalises the images '
                'itself; remove mean and std from data_preprocessor'
            )

    def _init_decode_head(self, decode_head: dict) -> None:
        head = type_of(decode_head, MODELS)
        if isinstance(head, type) and not issubclass(head, self.head_class):
            raise InputError(
                f'decode_head.type={head.__name__} does not work in a '
                f'{type(self).__name__}; choose a sub-class of '
                f'ovseg_mm.models.{self.head_class.__name__}'
            )
        self.decode_head = MODELS.build(decode_head)
        self.align_corners = False


def _refuse_mmseg_options(
    pretrained: str | None, auxiliary_head: dict | None
) -> None:
    """Raise for options of MMSegmentation that have no effect here."""
    if pretrained is not None:
        raise ValueError(
            f'pretrained={pretrained!r} is not an option of the segmentor; '
            'set clip.pretrained or clip.custom_clip_weights'
        )
    if auxiliary_head:
        raise InputError(
            'auxiliary_head is not an option of the segmentor; remove it, '
            'and list all losses in decode_head.loss_decode'
        )
