# SPDX-License-Identifier: Apache-2.0
"""Base class of the segmentors: parts, vocabularies, losses.

Letters: B images, V views of an image, T class texts, P prompts per class, L
labels, C embedding width, H, W pixels.
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
    """Segmentor whose class texts can change between two calls.

    Sub-classes implement :meth:`encode_decode`, from views to logits. Losses
    are computed by ``decode_head.loss`` from features, text embeddings and
    labels.

    Args:
        backbone (dict): Config of the backbone.
        text_encoder (dict, optional): Config of the text tower. None needs
            ``prompts.embeddings``.
        decode_head (dict): Config of the decode head.
        vocabulary (Vocabulary | str | list | dict): Class texts of validation,
            test and inference, see
            :func:`ovseg_mm.vocabulary.load_vocabulary`.
        train_vocabulary (Vocabulary | str | list | dict, optional): Class
            texts that the training labels stand for. None: ``vocabulary``.
            If some labels are unseen, training uses their texts but not
            their pixels: all of these get the label :data:`UNKNOWN`, for
            which the head makes pseudo labels (it must have
            ``learns_unseen``). To hide the texts as well, give
            ``dict(class_texts=..., subset='seen')``.
        clip (dict): ``arch`` and ``pretrained`` as open_clip names them,
            ``custom_clip_weights`` (file or folder to be read instead of the
            hub), ``finetune``. Towers that do not name ``arch``,
            ``pretrained`` or ``finetune`` themselves take them from here.
        prompts (dict): Arguments of :class:`TextBank`.
        neck (dict, optional): Config of the neck.
        data_preprocessor (dict, optional): Config of the preprocessor.
        auxiliary_head (None): Must be None; the decode head has all losses.
        pretrained (None): Must be None; MMSegmentation's APIs pass it.
        train_cfg (dict, optional): Unused; MMSegmentation passes it.
        test_cfg (dict): ``mode`` (``'whole'`` or ``'slide'``); in slide mode
            ``crop_size``, ``stride``, and optionally ``canvas``,
            ``global_view``, ``fit_windows`` and ``window_divisor`` (``fit``
            and ``divisor``, which may be ``'patch'``, the side of CLIP's
            patches) of :func:`sliding_views`; optionally
            ``window_batch`` (views that are encoded at a time, default 8),
            ``score_size`` (see :func:`fuse_views`), ``seen_penalty``
            (subtracted from the scores of seen classes, see
            :func:`penalise_seen`), ``threshold`` (pixels whose best score is
            not above it stay unlabelled; default: None, but the threshold of
            the head for a vocabulary of one text), ``keep_scores`` (whether
            samples have ``seg_logits``, L * H * W * 4 bytes; default None:
            only for TTA models and ``mmseg.apis``, which read them);
            ``refine`` (``steps`` and ``dilations`` of
            :class:`PixelRefiner`); ``logit_scale``, ``prob_thd`` and
            ``area_thd`` (``scale``, ``least_prob`` and ``least_area`` of
            :class:`Labelling`); ``background`` (name of the background label,
            if the vocabulary has it; default ``'background'``);
            ``others`` (background texts, as a list or a vocabulary: they are
            scored too, and pixels that they win get the background label, or
            stay unlabelled if there is none. Default: ``others_of_one`` for
            one label if the scores compare texts; otherwise ``[]``, no
            texts); ``others_of_one`` (default: the shipped
            ``background_words``); ``top_scores`` (k: samples have the scores
            of the k best labels of each pixel); ``max_words`` (k, for
            CAT-Seg: in each view only the k class texts with the highest
            similarity compete, which is faster and can change labels;
            default: as many as ``decode_head.pad_len``).
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
                'text_encoder=None needs prompts.embeddings, a file with the '
                'text embeddings'
            )
        self.set_vocabulary(vocabulary)
        self._train_vocabulary = self.vocabulary
        if train_vocabulary is not None:
            self._train_vocabulary = load_vocabulary(train_vocabulary)
            check_trainable(self._train_vocabulary)
        check_mmseg_options(given, self._train_vocabulary)
        # Number of labels in the numbering of the training data, set by
        # VocabularyHook. None: it follows from the first batch.
        self.num_train_labels: int | None = None
        # 255, which MMSegmentation pads labels with, may be a class.
        if getattr(self.data_preprocessor, 'seg_pad_val', None) == 255:
            whole = self._train_vocabulary.whole or self._train_vocabulary
            self.data_preprocessor.seg_pad_val = whole.ignore_label
        # Without a checkpoint, mmseg.apis do not initialise a model.
        self._has_towers = False
        if not any(parameter.requires_grad for parameter in self.parameters()):
            self.init_towers()
            self._has_towers = True

    @property
    def train_vocabulary(self) -> Vocabulary:
        """Class texts of the training labels, one text per label.

        Raises:
            ValueError: If no training vocabulary was given and that of the
                tests has several texts per label.
        """
        check_trainable(self._train_vocabulary)
        return self._train_vocabulary

    @property
    def dataset_meta(self) -> dict:
        """Label names and palette, as MMSegmentation's APIs read them.

        They always come from the vocabulary, never from a checkpoint; setting
        them has no effect.
        """
        meta = self.vocabulary.metainfo
        return dict(classes=meta['classes'], palette=meta['palette'])

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        pass

    @property
    def num_classes(self) -> int:
        """L of the current vocabulary."""
        return self.vocabulary.num_labels

    @property
    def out_channels(self) -> int:
        """Channels of ``seg_logits``, L of the current vocabulary."""
        return self.vocabulary.num_labels

    def init_towers(self) -> dict[str, Tensor]:
        """Fill the CLIP towers, unless the constructor has done so.

        Returns:
            dict[str, Tensor]: See :func:`init_clip_towers`.
        """
        return {} if self._has_towers else super().init_towers()

    def set_vocabulary(
        self, vocabulary: Vocabulary | str | list | dict
    ) -> None:
        """Change the class texts that :meth:`predict` labels pixels with.

        Args:
            vocabulary (Vocabulary | str | list | dict): See
                :func:`ovseg_mm.vocabulary.load_vocabulary`.
        """
        vocabulary = load_vocabulary(vocabulary)
        if self.text_bank.synonyms == 'each':
            vocabulary = vocabulary.each_text()
        self.vocabulary = vocabulary
        self.decode_head.num_classes = vocabulary.num_labels

    def extract_feat(self, inputs: Tensor) -> tuple:
        """Compute features of images (B, 3, H, W) in the weights' precision.

        Images in float32 also fit models of half precision
        (``model.half()``).
        """
        dtype = next(self.backbone.parameters()).dtype
        if dtype in HALF:
            inputs = inputs.to(dtype)
        return super().extract_feat(inputs)

    @name_image_files
    def loss(
        self, inputs: Tensor, data_samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            inputs (Tensor): Normalised images, (B, 3, H, W).
            data_samples (list[SegDataSample]): With ``gt_sem_seg``.

        Returns:
            dict[str, Tensor]: Losses by name.

        Raises:
            InputError: If a label has no text in the training vocabulary, or
                if there are unseen labels and the head cannot learn them.
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
        """Losses of images (B, 3, H, W) and their labels (B, H, W)."""
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
        """Raise if tensors do not fill the model.

        PyTorch, MMEngine's runner and MMSegmentation's APIs all call this
        method. Some would only log missing tensors and go on with random
        weights.
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
                'itself; leave mean and std out of data_preprocessor'
            )

    def _init_decode_head(self, decode_head: dict) -> None:
        head = type_of(decode_head, MODELS)
        if isinstance(head, type) and not issubclass(head, self.head_class):
            raise InputError(
                f'decode_head.type={head.__name__} does not take text '
                f'embeddings as {type(self).__name__} needs; choose a '
                f'sub-class of ovseg_mm.models.{self.head_class.__name__}'
            )
        self.decode_head = MODELS.build(decode_head)
        self.align_corners = False


def _refuse_mmseg_options(
    pretrained: str | None, auxiliary_head: dict | None
) -> None:
    """Raise for options of MMSegmentation's segmentors without effect here."""
    if pretrained is not None:
        raise ValueError(
            f'pretrained={pretrained!r} is not an option of the '
            'segmentor; name CLIP weights as clip.pretrained or '
            'clip.custom_clip_weights'
        )
    if auxiliary_head:
        raise InputError(
            'auxiliary_head is not an option of the segmentor, whose '
            'losses are those of decode_head; leave it out, and list '
            'further losses in decode_head.loss_decode'
        )
