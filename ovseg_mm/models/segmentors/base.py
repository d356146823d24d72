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
            texts of the training labels. None: ``vocabulary``. If the training
            vocabulary marks labels as unseen, these labels become
            :data:`UNKNOWN` in the training label maps, but their texts still
            take part in the training. This needs a head whose attribute
            ``learns_unseen`` is True. Such a head computes pseudo labels for
            pixels with :data:`UNKNOWN`. To train without the texts of unseen
            labels, set ``dict(class_texts=..., subset='seen')``.
        clip (dict, optional): Options of all CLIP towers:

            - ``arch``, ``pretrained``: open_clip's names of the architecture
              and of its weights.
            - ``custom_clip_weights``: file or folder of weights, which are
              loaded instead of a download.
            - ``finetune``: parameters that are trained, see
              :func:`freeze_except`.

            If the config of a tower itself has ``arch``, ``pretrained`` or
            ``finetune``, this tower uses the value in its own config.
        prompts (dict, optional): Arguments of :class:`TextBank`.
        neck (dict, optional): Config of the neck.
        data_preprocessor (dict, optional): Config of the preprocessor.
        auxiliary_head (None): Must be None; the decode head has all losses.
        pretrained (None): Must be None; MMSegmentation's APIs pass it.
        train_cfg (dict, optional): Unused; MMSegmentation passes it.
        test_cfg (dict, optional): Options of validation, test and inference:

            - ``mode``: ``'whole'`` (default), or ``'slide'`` for windows of
              ``crop_size`` with steps of ``stride``. Each of the two is
              (height, width) in pixels.
            - ``canvas``, ``global_view``, ``fit_windows``,
              ``window_divisor``: for ``mode='slide'``, the arguments
              ``canvas``, ``global_view``, ``fit`` and ``divisor`` of
              :func:`sliding_views`. ``window_divisor='patch'`` stands for the
              side of CLIP's patches.
            - ``window_batch``: number of views to encode at a time, default 8.
            - ``score_size``: argument of :func:`fuse_views`.
            - ``seen_penalty``: value to subtract from scores of seen classes.
            - ``threshold``: argument of :class:`Labelling`. Default: if only
              one label is scored, the threshold of the head. If several labels
              are scored, there is no threshold.
            - ``logit_scale``, ``prob_thd``, ``area_thd``: the arguments
              ``scale``, ``least_prob`` and ``least_area`` of
              :class:`Labelling`.
            - ``background``: name of the background label, default
              ``'background'``. The vocabulary may lack this label.
            - ``others``: texts for things that are not in the vocabulary, as a
              list or a vocabulary. Pixels where such a text has the best score
              get the background label. If the vocabulary has no background
              label, they get no label. Default: the texts of ``others_of_one``
              if its two conditions are met, otherwise no texts.
            - ``others_of_one``: default of ``others`` under two conditions.
              The vocabulary has only one label, and the scores of texts are
              compared with each other, as in a softmax. Without other texts,
              the only label would win every pixel. Default: the shipped list
              ``'background_words'``.
            - ``refine``: dict of the arguments ``steps`` and ``dilations`` of
              :class:`PixelRefiner`. Default: no refinement.
            - ``keep_scores``: whether samples get ``seg_logits``, the scores
              of the labels, (L, H, W) float32. Inside a TTA model, samples
              always get the scores. Elsewhere, the default is True for calls
              of ``mmseg.apis`` whose scores take at most 4 GiB, otherwise
              False.
            - ``top_scores``: number k. Samples get the scores of the k best
              labels of each pixel.
            - ``max_words``: number k, only for CAT-Seg. In each view, only the
              k class texts with the highest similarities compete, which saves
              time and may change labels. Default: ``decode_head.pad_len``.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    head_class: type[nn.Module] = BaseOpenVocabHead
    """Base class that the decode head must have."""

    option_dicts: ClassVar[dict] = dict(prompts=TextBank)
    """Arguments that are dicts, and the class that each dict configures."""

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
                'prompts.embeddings, or set text_encoder'
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
            ValueError: If the constructor got no ``train_vocabulary``, and
                ``vocabulary`` has several texts for a label.
        """
        check_trainable(self._train_vocabulary)
        return self._train_vocabulary

    @property
    def dataset_meta(self) -> dict:
        """Label names (``classes``) and ``palette`` for MMSegmentation's APIs.

        Names and palette come from the vocabulary. MMSegmentation's APIs try
        to set this property to the classes in the checkpoint. The setter
        ignores them, because the vocabulary may have other classes.
        """
        meta = self.vocabulary.metainfo
        return dict(classes=meta['classes'], palette=meta['palette'])

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        pass

    @property
    def num_classes(self) -> int:
        """Number L of labels in ``vocabulary``."""
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
                in half precision, the images are converted to its dtype.

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
            data_samples (list[SegDataSample]): Samples with the label maps
                ``gt_sem_seg``.

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
        """Losses of images (B, 3, H, W) with label maps (B, H, W)."""
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
        """Check that a checkpoint fits the model, then load it.

        PyTorch and MMEngine call this method to load a checkpoint. The check
        raises an error, for example if tensors are missing. Without the check,
        MMEngine would only log missing tensors and keep random weights.
        """
        tensors = {
            name[len(prefix) :]: value
            for name, value in state_dict.items()
            if name.startswith(prefix)
        }
        check_fit(self, tensors, 'the checkpoint')
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _check_parts(self) -> None:
        """Check options that depend on the decode head or the backbone.

        If the backbone normalises images, the preprocessor must not do it.
        """
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
    """Raise an error if an option of MMSegmentation would have no effect."""
    if pretrained is not None:
        raise ValueError(
            f'pretrained={pretrained!r} is not an option of the segmentor; '
            'remove it, and set clip.pretrained or clip.custom_clip_weights'
        )
    if auxiliary_head:
        raise InputError(
            'auxiliary_head is not an option of the segmentor; remove it, '
            'and list all losses in decode_head.loss_decode'
        )
