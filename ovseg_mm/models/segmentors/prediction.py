# SPDX-License-Identifier: Apache-2.0
"""Prediction of a segmentor: from images to views, scores and labels.

Letters: B images, V views of an image, T class texts, L labels, H, W height
and width in pixels, h, w height and width of a view.
"""

import warnings
from collections.abc import Callable, Sequence
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

# If scores take more bytes, results of mmseg.apis lack them by default.
MOST_SCORES = 1 << 32


class ViewPredictor(ScoreRules, EncoderDecoder):
    """Base class of segmentors, which predicts label maps.

    An image is cut into views: windows, or the whole image as the only view.
    The views are encoded, and their scores are fused into scores of the image.
    The labels come from the fused scores.

    Sub-classes may override :meth:`cut_views`, :meth:`encode_decode`,
    :meth:`encode_views` and :meth:`write_result`. The methods in
    :attr:`not_called` are never called. If a sub-class overrides one of them,
    the definition of the sub-class raises an error.
    """

    not_called: dict[str, str] = dict(
        slide_inference='cut_views or encode_views',
        whole_inference='cut_views or encode_views',
        postprocess_result='write_result',
        aug_test='encode_views, or use OpenVocabTTAModel',
        _decode_head_forward_train='loss of the decode head',
        _auxiliary_head_forward_train='loss of the decode head',
    )
    """Methods that are never called, and the methods to override instead."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for parent in cls.__mro__[1:]:
            for name, instead in vars(parent).get('not_called', {}).items():
                theirs = getattr(parent, name, None)
                if getattr(cls, name, None) is not theirs:
                    raise InputError(
                        f'{cls.__name__}.{name} is never called by '
                        f'{parent.__name__}; override {instead} instead'
                    )

    def val_step(self, data: dict) -> list[SegDataSample]:
        """Predict the label maps of images, see :meth:`test_step`."""
        return self.test_step(data)

    def test_step(self, data: dict) -> list[SegDataSample]:
        """Predict the label maps of images from the data loader.

        Args:
            data (dict): ``inputs``, a list of images, (3, H, W) each, which
                may differ in size; and ``data_samples``, their samples.

        Returns:
            list[SegDataSample]: The samples with the results of
            :meth:`predict`, one per image.
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
        """Compute the scores of one image without converting them to labels.

        This allows a caller to join the scores of several images, such as
        tiles of a raster.

        Args:
            data (dict): One image and its sample, as in :meth:`test_step`.

        Returns:
            tuple[ScoreMap, Labelling]: Scores of all class texts of
            :attr:`scored_vocabulary` at the original size; and the rule that
            converts scores to labels.
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
        """Predict the label maps of a batch.

        Padding of an image (``img_padding_size`` of its sample) is cut off
        first. A flip of the image (``flip_direction``) is undone in the
        results.

        Args:
            inputs (Tensor | Sequence[Tensor]): Normalised images,
                (B, 3, H, W), or a list of images of several sizes, (3, H, W).
            data_samples (list[SegDataSample], optional): Samples of the
                images. None: empty samples are made.

        Returns:
            list[SegDataSample]: The samples with ``pred_sem_seg``, labels in
            [0, L) or the ignore label, (1, H, W) int64, at the original size
            ``ori_shape``. With ``test_cfg.keep_scores``, they also have
            ``seg_logits``, scores of the labels, (L, H, W) float32. With
            ``test_cfg.top_scores=k``, they have ``top_scores``, the k highest
            scores of each pixel, (k, H, W) float32, and ``top_labels``, the
            labels with these scores, (k, H, W) int64.
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
        """Scores (B, L, H, W) of L labels, at the size of the B images."""
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
            tuple[Tensor, ViewLayout]: Views, (V, 3, h, w), and their positions
            in the image.
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
        """Compute the logits of all views of several images.

        Views of the same size are encoded in the same batches, even if they
        come from different images.

        Args:
            views (list[Tensor]): For each image, its V views, (V, 3, h, w).

        Returns:
            Sequence[Tensor | MaskVotes]: For each image, the logits of its
            views, (V, T, ...). With a mask head: for each image, the mask
            proposals of its views and their weights for the classes.
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
            # Concatenating all batches at the end would need twice the memory.
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
        """Prepare the scores of an image from its encoded views.

        Args:
            encoded (Tensor | MaskVotes): Result of :meth:`encode_views` for
                the image.
            layout (ViewLayout): Positions of the views in the image.
            size (tuple[int, int]): Height and width of the scores.
            img (Tensor): Normalised image, (3, H, W), for the refinement.
            flip (str, optional): Direction of the flip to undo. None: no flip.

        Returns:
            ScoreMap: Scores of all class texts of :attr:`scored_vocabulary`.
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
        """Write the label map of an image, and maybe scores, to its sample.

        Args:
            sample (SegDataSample): Sample of the image, changed in place; see
                :meth:`predict`.
            encoded (Tensor | MaskVotes): Result of :meth:`encode_views` for
                the image.
            layout (ViewLayout): Positions of the views in the image.
            img (Tensor): Normalised image without padding, (3, H, W).
        """
        size, flip = original_size(sample, img), flip_of(sample)
        scores = self.score_map(encoded, layout, size, img, flip)
        labelling = self.labelling
        scores_of: Callable[[slice], Tensor] = scores.of
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
        """Whether to store ``seg_logits`` of an image.

        ``size`` is the height and width of the image.
        """
        wanted = self.test_cfg.get('keep_scores')
        if self.tta_model is not None:
            if (
                self.test_cfg.get('others')
                and self.test_cfg.get('logit_scale') is None
            ):
                raise InputError(
                    'with test-time augmentation, test_cfg.others needs '
                    'test_cfg.logit_scale; set test_cfg.logit_scale, or '
                    'remove test_cfg.others'
                )
            if self.score_threshold is not None and not getattr(
                self.tta_model, 'has_threshold', False
            ):
                raise InputError(
                    f'{self.tta_model.__name__} labels every pixel, but the '
                    'model labels only pixels above a threshold (because of '
                    'test_cfg.threshold, or of a vocabulary with one label); '
                    "set tta_model=dict(type='OpenVocabTTAModel')"
                )
            return True
        # mmseg.apis set ``cfg``. Runners do not, and need only labels.
        if wanted is not None or not hasattr(self, 'cfg'):
            return bool(wanted)
        memory = 4 * self.num_classes * size[0] * size[1]
        if memory > MOST_SCORES:
            warnings.warn(
                f'the scores of {self.num_classes} classes at {size[0]} x '
                f'{size[1]} pixels take {memory / 2**30:.0f} GiB, so the '
                'result has no seg_logits; set test_cfg.keep_scores=True to '
                'store them, or False to hide this warning',
                stacklevel=2,
            )
        return memory <= MOST_SCORES
