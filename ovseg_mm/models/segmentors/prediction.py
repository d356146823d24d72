# SPDX-License-Identifier: Apache-2.0
"""Prediction of a segmentor: views, scores, labels.

Letters: B images, V views of an image, T class texts, L labels, H, W pixels.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.structures import PixelData
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor

from ovseg_mm.inference import (
    FLIPPED_AXES,
    Labelling,
    PixelRefiner,
    ScoreMap,
    sliding_views,
    whole_view,
)
from ovseg_mm.structures import MaskVotes, ViewLayout
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.resize import resize

from ..utils import name_image_files
from .sample_geometry import flip_of, original_size, without_padding
from .score_rules import ScoreRules

# Bytes of scores above which mmseg.apis gives none by default.
MOST_SCORES = 1 << 32


class ViewPredictor(ScoreRules, EncoderDecoder):
    """Prediction by views, the test side of every segmentor.

    Sub-classes override :meth:`cut_views`, :meth:`encode_decode`,
    :meth:`encode_views` or :meth:`write_result`. MMSegmentation's own
    template methods are not called; defining a sub-class that overrides one of
    :attr:`unheard` raises an error.
    """

    unheard: dict[str, str] = dict(
        slide_inference='cut_views or encode_views',
        whole_inference='cut_views or encode_views',
        postprocess_result='write_result',
        aug_test='encode_views, or use OpenVocabTTAModel',
        _decode_head_forward_train='loss of the decode head',
        _auxiliary_head_forward_train='loss of the decode head',
    )
    """Methods that are never called, and what to override instead."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for parent in cls.__mro__[1:]:
            for name, instead in vars(parent).get('unheard', {}).items():
                theirs = getattr(parent, name, None)
                if getattr(cls, name, None) is not theirs:
                    raise InputError(
                        f'{cls.__name__}.{name} is never called by '
                        f'{parent.__name__}; override {instead} instead'
                    )

    def val_step(self, data: dict) -> list[SegDataSample]:
        """See :meth:`test_step`."""
        return self.test_step(data)

    def test_step(self, data: dict) -> list[SegDataSample]:
        """Label maps of images as the data loader gives them.

        Args:
            data (dict): ``inputs``, a list of images (3, H, W) of one size
                or of several sizes, and ``data_samples``.

        Returns:
            list[SegDataSample]: One per image.
        """
        if len({tuple(img.shape) for img in data['inputs']}) == 1:
            return super().test_step(data)
        # MMSegmentation's preprocessor can stack images of one size only.
        parts = [
            self.data_preprocessor(
                dict(inputs=[img], data_samples=[sample]), False
            )
            for img, sample in zip(data['inputs'], data['data_samples'])
        ]
        return self.predict(
            [part['inputs'][0] for part in parts],
            [part['data_samples'][0] for part in parts],
        )

    def scored(self, data: dict) -> tuple[ScoreMap, Labelling]:
        """Scores of an image, before they become labels.

        Use it to join the scores of several images, such as tiles.

        Args:
            data (dict): One image, see :meth:`test_step`.

        Returns:
            tuple[ScoreMap, Labelling]: Scores of all texts of
            :attr:`scored_vocabulary` at the original size, and the rule that
            turns them into labels.
        """
        data = self.data_preprocessor(data, False)
        (img,), (sample,) = data['inputs'], data['data_samples']
        img = without_padding(img, sample.metainfo)
        views, layout = self.cut_views(img)
        (encoded,) = self.encode_views([views])
        size, flip = original_size(sample, img), flip_of(sample)
        scores = self.score_map(encoded, layout, size, img, flip)
        return scores, self.labelling

    @name_image_files
    def predict(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: list[SegDataSample] | None = None,
    ) -> list[SegDataSample]:
        """Label maps of a batch.

        Args:
            inputs (Tensor | Sequence[Tensor]): Normalised images, (B, 3, H,
                W), or a list of images (3, H, W) of several sizes. Padding
                named in the samples' ``img_padding_size`` is cut away first;
                flips named in ``flip_direction`` are undone.
            data_samples (list[SegDataSample], optional): Samples of the
                images.

        Returns:
            list[SegDataSample]: The samples. ``pred_sem_seg`` is (1, H0, W0)
            int64 in [0, L), at the original size ``ori_shape`` (the input's
            size if it is unknown). With ``test_cfg.keep_scores`` there is
            ``seg_logits``, the fused scores (L, H0, W0) float32; with
            ``test_cfg.top_scores`` there are ``top_scores`` and
            ``top_labels`` (k, H0, W0).
        """
        if data_samples is None:
            data_samples = [SegDataSample() for _ in inputs]
        images = [
            without_padding(img, sample.metainfo)
            for img, sample in zip(inputs, data_samples)
        ]
        views, layouts = zip(*map(self.cut_views, images))
        logits = self.encode_views(list(views))
        for img, sample, encoded, layout in zip(
            images, data_samples, logits, layouts
        ):
            self.write_result(sample, encoded, layout, img)
        return list(data_samples)

    def inference(
        self, inputs: Tensor, batch_img_metas: list[dict] | None = None
    ) -> Tensor:
        """Fused scores at the size of the input, (B, L, H, W)."""
        views, layouts = zip(*map(self.cut_views, inputs))
        scores, labelling = [], self.labelling
        height, width = inputs.shape[2:]
        logits = self.encode_views(list(views))
        for img, encoded, layout in zip(inputs, logits, layouts):
            scored = self.score_map(encoded, layout, (height, width), img)
            found = scored.of()
            scores.append(labelling.probabilities(found))
        return torch.stack(scores)

    def cut_views(self, img: Tensor) -> tuple[Tensor, ViewLayout]:
        """Cut an image into the views that ``test_cfg`` describes.

        Args:
            img (Tensor): Normalised image, (3, H, W).

        Returns:
            tuple[Tensor, ViewLayout]: Views (V, 3, h, w) and where they lie.
        """
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

    def encode_views(
        self, views: list[Tensor]
    ) -> Sequence[Tensor | MaskVotes]:
        """Views (V, 3, h, w) of each image to their logits (V, T, ...).

        Views of one size share batches, also if they are from several images.
        """
        counts = [len(part) for part in views]
        shapes = [part.shape[1:] for part in views]
        if len(set(shapes)) > 1:
            encoded: dict[int, Tensor | MaskVotes] = {}
            for shape in set(shapes):
                alike = [i for i, other in enumerate(shapes) if other == shape]
                parts = self.encode_views([views[i] for i in alike])
                encoded.update(zip(alike, parts))
            return [encoded[index] for index in range(len(views))]
        batches = torch.cat(views).split(self.test_cfg.get('window_batch', 8))
        logits = self.encode_decode(batches[0])
        if len(batches) > 1:
            # Joining them at the end would take twice the memory.
            first = logits
            logits = first.new_empty(sum(counts), *first.shape[1:])
            done = len(first)
            logits[:done] = first
            del first
            for batch in batches[1:]:
                logits[done : done + len(batch)] = self.encode_decode(batch)
                done += len(batch)
        return list(logits.split(counts))

    def score_map(
        self,
        encoded: Tensor | MaskVotes,
        layout: ViewLayout,
        size: tuple[int, int],
        img: Tensor,
        flip: str | None = None,
    ) -> ScoreMap:
        """Scores of an image.

        Args:
            encoded (Tensor | MaskVotes): Its views, from
                :meth:`encode_views`.
            layout (ViewLayout): Where they lie.
            size (tuple[int, int]): (H, W) of the scores.
            img (Tensor): Normalised image, (3, H, W), which refinement
                follows.
            flip (str, optional): Direction of a flip to undo.

        Returns:
            ScoreMap: Scores of all texts of :attr:`scored_vocabulary`.
        """
        cfg = self.test_cfg
        if flip:
            img = img.flip(FLIPPED_AXES[flip])
        refine = cfg.get('refine') or dict(steps=0)
        penalty = cfg.get('seen_penalty', 0.0)
        return ScoreMap(
            encoded,
            layout,
            size,
            self.decode_head.activate,
            PixelRefiner(resize(img[None].float(), size)[0], **refine),
            cfg.get('score_size'),
            self.seen_texts(img.device) if penalty else None,
            penalty,
            flip,
        )

    def write_result(
        self,
        sample: SegDataSample,
        encoded: Tensor | MaskVotes,
        layout: ViewLayout,
        img: Tensor,
    ) -> None:
        """Write the label map of an image, and perhaps scores, to its sample.

        Args:
            sample (SegDataSample): The sample; it gets ``pred_sem_seg`` and
                perhaps ``seg_logits``, see :meth:`predict`.
            encoded (Tensor | MaskVotes): The image's views, from
                :meth:`encode_views`.
            layout (ViewLayout): Where they lie.
            img (Tensor): Normalised image without padding, (3, H, W).
        """
        size, flip = original_size(sample, img), flip_of(sample)
        scores = self.score_map(encoded, layout, size, img, flip)
        labelling = self.labelling
        scores_of = scores.of
        if self._keeps_scores(size):
            kept = scores.of()
            sample.seg_logits = PixelData(data=labelling.probabilities(kept))
            scores_of = kept.__getitem__
        if count := self.test_cfg.get('top_scores', 0):
            labels, *top = labelling.labels_and_top(scores_of, count)
            sample.top_scores = PixelData(data=top[0])
            sample.top_labels = PixelData(data=top[1])
        else:
            labels = labelling.labels(scores_of)
        sample.pred_sem_seg = PixelData(data=labels[None])

    def _forward(
        self,
        inputs: Tensor,
        data_samples: list[SegDataSample] | None = None,
    ) -> Tensor:
        return self.encode_decode(inputs)

    def _keeps_scores(self, size: tuple[int, int]) -> bool:
        """Whether the scores of an image of this size stay in its sample."""
        wanted = self.test_cfg.get('keep_scores')
        if self.tta_model is not None:
            if (
                self.test_cfg.get('others')
                and self.test_cfg.get('logit_scale') is None
            ):
                raise InputError(
                    'test_cfg.others and test-time augmentation go together '
                    'with test_cfg.logit_scale only; leave one of them out'
                )
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
        # mmseg.apis set ``cfg``. Runners, which need labels only, do not.
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
