# SPDX-License-Identifier: Apache-2.0
"""What open-vocabulary segmentors share: words, windows, post-processing.

Letters: B images, V views of an image, T class texts, P prompts a class, L
labels, C embedding width, H, W pixels.
"""

import warnings

import torch
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor

from ovseg_mm.checkpoints import check_fit
from ovseg_mm.inference import (
    HALF,
    Labelling,
    PixelRefiner,
    fuse_views,
    penalise_seen,
    sliding_views,
    whole_view,
)
from ovseg_mm.structures import ViewLayout
from ovseg_mm.utils.config_types import type_of
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.resize import resize
from ovseg_mm.vocabulary import Vocabulary, load_vocabulary

from ..clip_towers import init_clip_towers, with_tower_options
from ..decode_heads import BaseOpenVocabHead
from ..decode_heads.mmseg_options import (
    check_mmseg_options,
    split_mmseg_options,
)
from ..text_encoder import TextBank
from ..utils import name_image_files
from .options import checked_clip, checked_test_cfg
from .training_labels import (
    check_learns_unseen,
    check_trainable,
    numbering_of,
    training_labels,
)

FLIPPED_AXES = dict(horizontal=(2,), vertical=(1,), diagonal=(1, 2))
# Bytes of scores above which users of mmseg.apis get none unasked.
MOST_SCORES = 1 << 32


class BaseOpenVocabSegmentor(EncoderDecoder):
    """Segmentor whose classes are texts that can change between two calls.

    Sub-classes say how views become logits (:meth:`encode_decode`); the
    decode head says how features, text embeddings and labels become losses
    (``decode_head.loss``).

    Args:
        backbone (dict): Config of the backbone.
        text_encoder (dict, optional): Config of the text tower. None needs
            ``prompts.embeddings``.
        decode_head (dict): Config of the decode head.
        vocabulary: Class texts of validation, test and inference, see
            :func:`ovseg_mm.vocabulary.load_vocabulary`.
        train_vocabulary: Class texts that the training labels stand for.
            None: ``vocabulary``. If some labels are unseen, training knows
            their texts but not their pixels: these are labelled
            :data:`UNKNOWN`, whichever class it is, and the head, which must
            be able to, makes labels for them itself. To hide the texts as
            well give ``dict(class_texts=..., subset='seen')``.
        clip (dict): ``arch`` and ``pretrained`` as open_clip names them,
            ``custom_clip_weights`` (file or folder to be read instead of the
            hub), ``finetune``. Towers that do not name ``arch``,
            ``pretrained`` or ``finetune`` themselves take them from here.
        prompts (dict): Arguments of :class:`TextBank`.
        neck (dict, optional): Config of the neck.
        data_preprocessor (dict, optional): Config of the preprocessor.
        auxiliary_head (None): Always None; heads have their losses alone.
        pretrained (None): Always None; MMSegmentation's APIs pass it.
        train_cfg (dict, optional): Unused; MMSegmentation passes it.
        test_cfg (dict): ``mode`` (``'whole'`` or ``'slide'``); in slide mode
            ``crop_size``, ``stride``, and optionally ``canvas``,
            ``global_view``, ``fit_windows`` and ``window_divisor`` (``fit``
            and ``divisor``, which may be ``'patch'``, the side of CLIP's
            patches) of :func:`sliding_views`; optionally
            ``window_batch`` (views that are encoded at a time, default 8),
            ``score_size`` (see :func:`fuse_views`), ``seen_penalty`` (what
            the scores of seen classes are lowered by, see
            :func:`penalise_seen`), ``threshold`` (pixels whose best score is
            not above it stay unlabelled; default None, for a vocabulary of
            one text the head's), ``keep_scores`` (whether samples
            have ``seg_logits``, L * H * W * 4 bytes; default None: only for
            those who read them, which are TTA models and users of
            ``mmseg.apis``); ``refine`` (``steps`` and ``dilations`` of
            :class:`PixelRefiner`); ``logit_scale``, ``prob_thd`` and
            ``area_thd`` (``scale``, ``least_prob`` and ``least_area`` of
            :class:`Labelling`); ``background`` (name of the background label,
            if the vocabulary has it; default ``'background'``);
            ``others`` (texts of things that are not asked for, as a list or
            a vocabulary: they take part in the softmax, and pixels that they
            win stay unlabelled. Default: with ``logit_scale`` and one label
            the shipped ``background_words``, otherwise none, as ``[]``).
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    decode_head: BaseOpenVocabHead
    head_class: type[BaseOpenVocabHead] = BaseOpenVocabHead
    """Class that the decode head must have."""

    # The kind of TTA model that holds this one, if any.
    tta_model: type | None = None

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
        if getattr(self.backbone, 'normalises', False) and getattr(
            self.data_preprocessor, '_enable_normalize', False
        ):
            raise ValueError(
                f'{type(self.backbone).__name__} normalises the images '
                'itself; leave mean and std out of data_preprocessor'
            )
        self.clip = clip
        self.text_bank = TextBank(**(prompts or {}))
        self.text_encoder = None
        if text_encoder is not None:
            self.text_encoder = MODELS.build(
                with_tower_options(text_encoder, clip)
            )
        elif self.text_bank.embeddings is None:
            raise ValueError(
                'text_encoder=None needs prompts.embeddings, a file that the '
                'text embeddings come from'
            )
        self.set_vocabulary(vocabulary)
        self._train_vocabulary = self.vocabulary
        if train_vocabulary is not None:
            self._train_vocabulary = load_vocabulary(train_vocabulary)
            check_trainable(self._train_vocabulary)
        check_mmseg_options(given, self._train_vocabulary)
        # Number of labels in the numbering of the training data, which
        # VocabularyHook sets; None: the first batch tells.
        self.num_train_labels: int | None = None
        # 255, which MMSegmentation pads labels with, may be a class.
        if getattr(self.data_preprocessor, 'seg_pad_val', None) == 255:
            whole = self._train_vocabulary.whole or self._train_vocabulary
            ignored = whole.ignore_label
            self.data_preprocessor.seg_pad_val = ignored
        # Nobody initialises a model that is neither trained nor loaded.
        if not any(parameter.requires_grad for parameter in self.parameters()):
            init_clip_towers(self, clip)

    @property
    def train_vocabulary(self) -> Vocabulary:
        """Class texts that the training labels stand for, one a label.

        Raises:
            ValueError: If it is that of the tests (none was named for
                training) and has several texts a label.
        """
        check_trainable(self._train_vocabulary)
        return self._train_vocabulary

    @property
    def score_threshold(self) -> float | None:
        """Score that a pixel must exceed to be labelled.

        A vocabulary of one label needs one: its argmax labels every pixel.
        None with ``logit_scale``, which has texts of other things beside.
        """
        if self.test_cfg.get('logit_scale') is not None:
            return None
        threshold = self.test_cfg.get('threshold')
        if threshold is None and self.vocabulary.num_labels == 1:
            threshold = self.decode_head.threshold
            if not self.vocabulary.unseen:
                threshold -= self.test_cfg.get('seen_penalty', 0.0)
        return threshold

    @property
    def scored_vocabulary(self) -> Vocabulary:
        """The vocabulary and the texts of ``test_cfg.others`` behind it."""
        others = self.test_cfg.get('others')
        if others is None:
            if (
                self.test_cfg.get('logit_scale') is None
                or self.vocabulary.num_labels > 1
            ):
                return self.vocabulary
            # The softmax over one label is 1 everywhere.
            others = 'background_words'
        if not others:
            return self.vocabulary
        texts = load_vocabulary(others).each_text().names
        return self.vocabulary.with_others(texts, 'other things')

    @property
    def labelling(self) -> Labelling:
        """How fused scores become labels."""
        cfg, vocabulary = self.test_cfg, self.vocabulary
        others = self.scored_vocabulary.num_texts - vocabulary.num_texts
        return Labelling(
            (
                *vocabulary.prompt_to_label,
                *[vocabulary.ignore_label] * others,
            ),
            vocabulary.num_labels,
            vocabulary.ignore_label,
            self.score_threshold,
            cfg.get('logit_scale'),
            cfg.get('prob_thd', 0.0),
            cfg.get('area_thd'),
            vocabulary.label_named(cfg.get('background', 'background')),
        )

    @property
    def dataset_meta(self) -> dict:
        """Label names and palette, as MMSegmentation's APIs read them.

        They are the vocabulary's whatever a checkpoint says; to set them has
        no effect.
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

    def set_vocabulary(
        self, vocabulary: Vocabulary | str | list | dict
    ) -> None:
        """Change the words that :meth:`predict` labels pixels with.

        Args:
            vocabulary: See :func:`ovseg_mm.vocabulary.load_vocabulary`.
        """
        vocabulary = load_vocabulary(vocabulary)
        if self.text_bank.synonyms == 'each':
            vocabulary = vocabulary.each_text()
        self.vocabulary = vocabulary
        self.decode_head.num_classes = vocabulary.num_labels

    def init_weights(self) -> None:
        """Initialise; CLIP towers get the weights that ``clip`` names."""
        super().init_weights()
        init_clip_towers(self, self.clip)

    def train(self, mode: bool = True) -> 'BaseOpenVocabSegmentor':
        """Switch the mode; text embeddings of before are forgotten."""
        if mode or self.training:
            self.text_bank.clear()
        return super().train(mode)

    def text_embeddings(self, vocabulary: Vocabulary) -> Tensor:
        """Text embeddings of a vocabulary, (T, P, C)."""
        text = self.text_bank(self._text_tower(), vocabulary)
        parameter = next(self.decode_head.parameters(), None)
        if parameter is None:
            return text.to(self.data_preprocessor.device)
        return text.to(parameter.device)

    def prepare_text(self) -> None:
        """Compute the text embeddings of the vocabulary, on all ranks."""
        self.text_bank.prepare(self._text_tower(), self.scored_vocabulary)

    def extract_feat(self, inputs: Tensor) -> tuple:
        """Features of images (B, 3, H, W), in the precision of the weights.

        Images are in float32, models that were turned to half precision
        (``model.half()``) take them too.
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
            InputError: If a label does not stand for a text of the training
                vocabulary; or if there are unseen ones and the head cannot
                learn them.
        """
        labels = [sample.gt_sem_seg.data[0] for sample in data_samples]
        labels = torch.stack(labels).long()
        vocabulary = self.train_vocabulary
        check_learns_unseen(self.decode_head, vocabulary)
        if self.num_train_labels is None:
            self.num_train_labels = numbering_of(labels, vocabulary)
        labels = training_labels(
            labels, data_samples, vocabulary, self.num_train_labels
        )
        return add_prefix(self._losses(inputs, labels), 'decode')

    def val_step(self, data: dict) -> list[SegDataSample]:
        """See :meth:`test_step`."""
        return self.test_step(data)

    def test_step(self, data: dict) -> list[SegDataSample]:
        """Label maps of images as the data loader gives them.

        Args:
            data (dict): ``inputs``, a list of (3, H, W), of one size or of
                several, and ``data_samples``.
        """
        if len({tuple(img.shape) for img in data['inputs']}) == 1:
            return super().test_step(data)
        # MMSegmentation's preprocessor stacks images of one size alone.
        return [
            super(BaseOpenVocabSegmentor, self).test_step(
                dict(inputs=[img], data_samples=[sample])
            )[0]
            for img, sample in zip(data['inputs'], data['data_samples'])
        ]

    @name_image_files
    def predict(
        self,
        inputs: Tensor,
        data_samples: list[SegDataSample] | None = None,
    ) -> list[SegDataSample]:
        """Label maps of a batch.

        Args:
            inputs (Tensor): Normalised images, (B, 3, H, W); padding named in
                the samples' ``img_padding_size`` is cut away first, flips
                named in ``flip_direction`` are undone.
            data_samples (list[SegDataSample], optional): Their samples.

        Returns:
            list[SegDataSample]: The samples with ``pred_sem_seg`` (1, H0,
            W0) int64 in [0, L) at the original size, ``ori_shape`` (that of
            the input if it is not known), and with ``seg_logits`` (L, H0,
            W0), the fused scores, float32, see
            ``test_cfg.keep_scores``.
        """
        if data_samples is None:
            data_samples = [SegDataSample() for _ in inputs]
        images = [
            _without_padding(img, sample.metainfo)
            for img, sample in zip(inputs, data_samples)
        ]
        views, layouts = zip(*map(self._cut_views, images))
        logits = self._encode_views(list(views))
        for img, sample, *fused in zip(images, data_samples, logits, layouts):
            size = sample.metainfo.get('ori_shape', img.shape[1:])
            self._postprocess(sample, *fused, tuple(size[:2]), img)
        return list(data_samples)

    def inference(
        self, inputs: Tensor, batch_img_metas: list[dict] | None = None
    ) -> Tensor:
        """Fused scores at the size of the input, (B, L, H, W)."""
        views, layouts = zip(*map(self._cut_views, inputs))
        scores, labelling = [], self.labelling
        classes, size = slice(0, None), inputs.shape[2:]
        logits = self._encode_views(list(views))
        for img, *fused in zip(inputs, logits, layouts):
            refine = self._refiner(img, size)
            fused = refine(self._fused_scores(*fused, classes, size))
            scores.append(labelling.probabilities(fused))
        return torch.stack(scores)

    def _forward(
        self,
        inputs: Tensor,
        data_samples: list[SegDataSample] | None = None,
    ) -> Tensor:
        return self.encode_decode(inputs)

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
        self, state_dict: dict, prefix: str, *args
    ) -> None:
        """Refuse what does not fill the model.

        PyTorch, MMEngine's runner and MMSegmentation's APIs all come by
        here; some of them only log what is missing, and predict noise.
        """
        tensors = {
            name[len(prefix) :]: value
            for name, value in state_dict.items()
            if name.startswith(prefix)
        }
        check_fit(self, tensors, 'the checkpoint')
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _text_tower(self) -> torch.nn.Module | None:
        """The text tower, where the images are.

        Sharded training leaves parts that it does not shard on the CPU.
        """
        device = self.data_preprocessor.device
        if self.text_encoder is not None:
            parameter = next(self.text_encoder.parameters(), None)
            if parameter is not None and parameter.device.type != device.type:
                self.text_encoder.to(device)
        return self.text_encoder

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

    def _cut_views(self, img: Tensor) -> tuple[Tensor, ViewLayout]:
        cfg = self.test_cfg
        if cfg['mode'] == 'whole':
            return whole_view(img)
        divisor = cfg.get('window_divisor', 1)
        if divisor == 'patch':
            divisor = self.backbone.patch_size
        return sliding_views(
            img,
            tuple(cfg['crop_size']),
            tuple(cfg['stride']),
            cfg.get('canvas'),
            cfg.get('global_view', False),
            cfg.get('fit_windows', False),
            divisor,
        )

    def _encode_views(self, views: list[Tensor]) -> list[Tensor]:
        """Views (V, 3, h, w) of each image to their logits (V, T, ...)."""
        counts = [len(part) for part in views]
        if len({part.shape[1:] for part in views}) > 1:
            return [self._encode_views([part])[0] for part in views]
        batches = torch.cat(views).split(self.test_cfg.get('window_batch', 8))
        logits = [self.encode_decode(batch) for batch in batches]
        if len(logits) > 1:
            logits = [torch.cat(logits)]
        return list(logits[0].split(counts))

    def _postprocess(
        self,
        sample: SegDataSample,
        logits: Tensor,
        layout: ViewLayout,
        size: tuple[int, int],
        img: Tensor,
    ) -> None:
        """Write label map (and scores) of one image into its sample."""
        meta = sample.metainfo
        flip = meta.get('flip_direction') if meta.get('flip') else None
        refine, labelling = self._refiner(img, size, flip), self.labelling

        def scores_of(classes: slice) -> Tensor:
            return refine(
                self._fused_scores(logits, layout, classes, size, flip)
            )

        if self._keeps_scores(size):
            scores = scores_of(slice(0, None))
            sample.seg_logits = PixelData(data=labelling.probabilities(scores))

            def scores_of(classes: slice) -> Tensor:
                return scores[classes]

        labels = labelling.labels(scores_of)
        sample.pred_sem_seg = PixelData(data=labels[None])

    def _keeps_scores(self, size: tuple[int, int]) -> bool:
        """Whether the scores of an image of some size stay in its sample."""
        wanted = self.test_cfg.get('keep_scores')
        if self.tta_model is not None:
            if self.score_threshold is not None and not getattr(
                self.tta_model, 'has_threshold', False
            ):
                raise InputError(
                    f'{self.tta_model.__name__} labels every pixel, but the '
                    'model labels those above a threshold (test_cfg.threshold,'
                    ' or a vocabulary of one text); set '
                    "tta_model=dict(type='OpenVocabTTAModel')"
                )
            return True
        # mmseg.apis set ``cfg``, runners, which only count labels, do not.
        if wanted is not None or not hasattr(self, 'cfg'):
            return bool(wanted)
        memory = 4 * self.num_classes * size[0] * size[1]
        if memory > MOST_SCORES:
            warnings.warn(
                f'the scores of {self.num_classes} classes at {size[0]} x '
                f'{size[1]} pixels take {memory / 2**30:.0f} GiB, so the '
                'result has no seg_logits; set test_cfg.keep_scores=True to '
                'have them, or False to have none',
                stacklevel=2,
            )
        return memory <= MOST_SCORES

    def _refiner(
        self, img: Tensor, size: tuple[int, int], flip: str | None = None
    ) -> PixelRefiner:
        """Refinement of the scores (t, *size) of an image (3, H, W)."""
        options = self.test_cfg.get('refine') or dict(steps=0)
        if flip:
            img = img.flip(FLIPPED_AXES[flip])
        return PixelRefiner(resize(img[None].float(), size)[0], **options)

    def _fused_scores(
        self,
        logits: Tensor,
        layout: ViewLayout,
        classes: slice,
        size: tuple[int, int],
        flip: str | None = None,
    ) -> Tensor:
        """Scores (t, *size) of some classes of one image."""
        cfg, penalty = self.test_cfg, self.test_cfg.get('seen_penalty', 0.0)
        views = self._view_logits(logits, classes)
        seen = self._seen_texts(views.device)[classes] if penalty else None

        def activate(part: Tensor) -> Tensor:
            scores = self.decode_head.activate(part)
            return penalise_seen(scores, seen, penalty) if penalty else scores

        fused = fuse_views(views, layout, activate, cfg.get('score_size'))
        if flip:
            fused = fused.flip(FLIPPED_AXES[flip])
        return resize(fused[None], size)[0]

    def _view_logits(self, encoded: Tensor, classes: slice) -> Tensor:
        """Logits (V, t, h, w) of some classes of one image's views."""
        return encoded[:, classes].float()

    def _seen_texts(self, device: torch.device) -> Tensor:
        """Which texts lead to a label that is not unseen, (T,) bool."""
        vocabulary = self.vocabulary
        return torch.tensor(
            [
                label not in vocabulary.unseen
                for label in self.scored_vocabulary.prompt_to_label
            ],
            device=device,
        )


def _without_padding(img: Tensor, meta: dict) -> Tensor:
    padding = meta.get('img_padding_size', meta.get('padding_size'))
    left, right, top, bottom = padding or (0, 0, 0, 0)
    height, width = img.shape[1:]
    return img[:, top : height - bottom, left : width - right]
