# SPDX-License-Identifier: Apache-2.0
"""Segmentation of images with arbitrary class texts."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.structures import SegDataSample
from PIL import Image
from rich.progress import track
from typing_extensions import Unpack  # of torch

from ovseg_mm.engine.launch import build_for_images
from ovseg_mm.inference import Labelling, ScoreMap, mixed_precision
from ovseg_mm.utils.speed_options import speed_settings
from ovseg_mm.vocabulary import Vocabulary, load_vocabulary
from ovseg_mm.zoo import DEFAULT_MODEL, ModelSource, resolve_model

from .array_pipeline import array_pipeline
from .call_options import (
    Call,
    CallOptions,
    check_batch_size,
    checked_templates,
    options_of_background,
    options_of_scores,
    set_for_call,
)
from .pictures import (
    Picture,
    Pixels,
    each_picture,
    is_several,
    read_ahead,
    read_picture,
)
from .result import Segmentation

Words: TypeAlias = Vocabulary | str | list | dict
"""Class texts, see :func:`ovseg_mm.vocabulary.load_vocabulary`."""


class OpenVocabInferencer:
    """Model that segments images with arbitrary class texts.

    >>> inferencer = OpenVocabInferencer('catseg-vitb16')
    >>> result = inferencer('street.jpg', ['road', 'sofa|couch', 'sky'])
    >>> result.labels, result.shares()

    Class texts and options are valid for one call. Several threads may share
    an inferencer; their batches run one after the other. The attribute
    ``model`` works with MMSegmentation's APIs; calls do not change its
    vocabulary.

    Args:
        model (str | Path | Config | ModelSource): Name of a model, such as
            ``'sc-clip'`` or ``'sc-clip:ViT-L-14-336/openai'``; path of a
            config file, bare name of a shipped config, or a config. See
            :func:`ovseg_mm.zoo.resolve_model`.
        checkpoint (str | Path, optional): Checkpoint of this package or of
            the method's authors. None: for a model name, the weights of this
            model, which are downloaded once; for a config, only the weights
            of CLIP.
        device (str, optional): Device such as ``'cuda:0'``. None: a GPU if
            there is one, else the CPU.
        cfg_options (dict, optional): Settings to override in the config.
        amp (bool): Whether to use mixed precision: float16 on GPUs, bfloat16
            on CPUs. This option and the next three save time and may change
            labels, see ``docs/speed.md``.
        compile (bool): Whether to compile the blocks of CLIP's image tower.
        max_words (int, optional): For CAT-Seg: maximum number of class texts
            for each image or window. The class texts that are least similar
            to the image or window are left out. None: as the config says.
        prune_regions (float, optional): For ZSSeg and SCAN: number in [0, 1].
            A mask proposal is left out if, at every pixel, its vote (mask
            probability times largest class weight) is below this share of the
            largest vote at the pixel. None: as the config says.

    Raises:
        FileNotFoundError: If the model, config or checkpoint does not exist.
        InputError: If the checkpoint does not fit the model, or the device
            cannot be used.
        OSError: If weights cannot be downloaded or stored.
    """

    def __init__(
        self,
        model: str | Path | Config | ModelSource = DEFAULT_MODEL,
        checkpoint: str | Path | None = None,
        device: str | None = None,
        cfg_options: dict | None = None,
        amp: bool = False,
        compile: bool = False,
        max_words: int | None = None,
        prune_regions: float | None = None,
    ) -> None:
        faster = speed_settings(amp, compile, max_words, prune_regions)
        source = resolve_model(model, checkpoint)
        self.model = build_for_images(
            source, device, {**(cfg_options or {}), **faster}
        )
        self.amp = amp
        self._pipeline = array_pipeline(self.model.cfg.test_pipeline)
        self._lock = threading.RLock()

    @property
    def vocabulary(self) -> Vocabulary:
        """Vocabulary of the model; calls without ``classes`` use it."""
        with self._lock:  # a call changes the vocabulary while it runs
            return self.model.vocabulary

    @overload
    def __call__(
        self,
        images: bytes | Image.Image | np.ndarray | torch.Tensor,
        classes: Words | None = None,
        **options: Unpack[CallOptions],
    ) -> Segmentation: ...

    @overload
    def __call__(
        self,
        images: list[Picture] | tuple[Picture, ...],
        classes: Words | None = None,
        **options: Unpack[CallOptions],
    ) -> list[Segmentation]: ...

    # The type does not tell whether a path is an image or a folder.
    @overload
    def __call__(
        self,
        images: str | Path | Iterable[Picture],
        classes: Words | None = None,
        **options: Unpack[CallOptions],
    ) -> Any: ...

    def __call__(
        self,
        images: Picture | Iterable[Picture],
        classes: Words | None = None,
        *,
        background: str | Sequence[str] | None = None,
        templates: str | Sequence[str] | None = None,
        score_threshold: float | None = None,
        scores: str | int | None = None,
        batch_size: int = 1,
        progress: bool = False,
    ) -> Segmentation | list[Segmentation]:
        """Segment one image or several.

        Args:
            images (Picture | Iterable[Picture]): Path, ``bytes`` of an image
                file, PIL image, RGB array (H, W, 3) uint8, or tensor (3, H, W)
                as in torchvision, see
                :func:`ovseg_mm.apis.pictures.rgb_of`. For several images: a
                folder, a pattern such as ``'street/*.jpg'``, or a list.
            classes (Words, optional): Class texts of this call, see
                :func:`ovseg_mm.vocabulary.load_vocabulary`. None: class texts
                of the model, see ``model.set_vocabulary``.
            background (str | Sequence[str], optional): Which pixels show none
                of the classes. Such background pixels stay unlabelled, or get
                the class ``'background'`` if there is one.

                - ``'none'``: no pixel; every pixel gets a class.
                - ``'threshold'``: pixels whose best score is not above
                  ``score_threshold``.
                - a list of words: pixels that fit one of these words best.
                  ``'coco'`` stands for the class names of COCO-Stuff, see
                  :func:`ovseg_mm.vocabulary.background_words`.
                - None: as the config says. In most configs, this is ``'none'``
                  for several classes, and a threshold or background words for
                  a single class, see ``docs/words.md``.
            templates (str | Sequence[str], optional): Sentences that class
                texts are put into, see
                :func:`ovseg_mm.vocabulary.get_templates`. None: templates of
                the config.
            score_threshold (float, optional): Number in the unit of the
                result's ``scores``. Pixels whose best score is not above it
                are background. None: threshold of the config, if any; with
                ``background='threshold'``, default of the method.
            scores (str | int, optional): ``'all'``: the result has the scores
                of all L labels, which take L * H * W * 4 bytes. A number k:
                the scores of the k best labels of each pixel. None: no scores.
            batch_size (int): Images that go through the model together.
            progress (bool): Whether to show a progress bar.

        Returns:
            Segmentation | list[Segmentation]: Result at the size of the
            image; for several images, a list. For more images than fit in
            memory, use :meth:`iterate`.

        Raises:
            FileNotFoundError: If an image file does not exist.
            InputError: If a file is not an image, or the class texts or an
                option cannot be used.
        """
        check_batch_size(batch_size)
        call = self._call_of(
            classes, background, templates, score_threshold, scores
        )
        several = is_several(images)
        # All images are read first, so that a bad one ends the call early.
        pictures = [
            read_picture(picture, index if several else None)
            for index, picture in enumerate(each_picture(images))
        ]
        results = self._results(pictures, call, batch_size)
        found = list(_tracked(results, len(pictures), progress))
        return found if several else found[0]

    def iterate(
        self,
        images: Picture | Iterable[Picture],
        classes: Words | None = None,
        *,
        background: str | Sequence[str] | None = None,
        templates: str | Sequence[str] | None = None,
        score_threshold: float | None = None,
        scores: str | int | None = None,
        batch_size: int = 1,
        progress: bool = False,
    ) -> Iterator[Segmentation]:
        """Segment images one by one; only a few are in memory at a time.

        A thread reads the next images while the model runs. Options and file
        names are checked immediately. The content of a file is checked later.

        Args:
            images (Picture | Iterable[Picture]): See :meth:`__call__`; may
                also be a generator.
            classes (Words, optional): See :meth:`__call__`.
            background (str | Sequence[str], optional): See :meth:`__call__`.
            templates (str | Sequence[str], optional): See :meth:`__call__`.
            score_threshold (float, optional): See :meth:`__call__`.
            scores (str | int, optional): See :meth:`__call__`.
            batch_size (int): See :meth:`__call__`.
            progress (bool): See :meth:`__call__`.

        Returns:
            Iterator[Segmentation]: Results in the order of the images.

        Raises:
            FileNotFoundError: If an image file does not exist.
            InputError: If a file is not an image, or the class texts or an
                option cannot be used.
        """
        check_batch_size(batch_size)
        call = self._call_of(
            classes, background, templates, score_threshold, scores
        )
        listed: Iterable[Picture] = each_picture(images)
        total = None
        if not isinstance(images, Iterator):
            listed = list(listed)
            total = len(listed)
        pictures = read_ahead(listed, batch_size)
        results = self._results(pictures, call, batch_size)
        return _tracked(results, total, progress)

    @contextmanager
    def scored(
        self,
        image: Picture,
        classes: Words | None = None,
        *,
        background: str | Sequence[str] | None = None,
        templates: str | Sequence[str] | None = None,
        score_threshold: float | None = None,
    ) -> Iterator[tuple[ScoreMap, Labelling]]:
        """Context manager for the scores of an image before labelling.

        >>> with inferencer.scored(tile, words) as (scores, labelling):
        ...     labels = labelling.labels(scores.of)

        Args:
            image (Picture): A single image, see :meth:`__call__`.
            classes (Words, optional): See :meth:`__call__`.
            background (str | Sequence[str], optional): See :meth:`__call__`.
            templates (str | Sequence[str], optional): See :meth:`__call__`.
            score_threshold (float, optional): See :meth:`__call__`.

        Yields:
            tuple[ScoreMap, Labelling]: Object whose method ``of`` computes
            the scores of class texts, and the rule that turns scores into
            labels. Both are valid only inside the ``with`` block.
        """
        call = self._call_of(classes, background, templates, score_threshold)
        batch = self._batch([read_picture(image)])
        with (
            self._lock,
            set_for_call(self.model, call),
            torch.no_grad(),
            self._precision(),
        ):
            yield self.model.scored(batch)

    def to(self, device: str | torch.device) -> 'OpenVocabInferencer':
        """Move the model to a device.

        Args:
            device (str | torch.device): The device.

        Returns:
            OpenVocabInferencer: The inferencer itself.
        """
        with self._lock:
            self.model.to(device)
        return self

    def __getstate__(self) -> dict:
        """State for pickle, without the lock, which cannot be copied."""
        return {k: v for k, v in self.__dict__.items() if k != '_lock'}

    def __setstate__(self, state: dict) -> None:
        """Restore the state of :meth:`__getstate__` with a new lock."""
        self.__dict__.update(state, _lock=threading.RLock())

    def _call_of(
        self,
        classes: Words | None,
        background: str | Sequence[str] | None,
        templates: str | Sequence[str] | None,
        score_threshold: float | None,
        scores: str | int | None = None,
    ) -> Call:
        """Check the arguments of :meth:`__call__` and convert them."""
        words = None if classes is None else load_vocabulary(classes)
        with self._lock:  # a call changes the model while it runs
            rest = options_of_background(
                self.model,
                words or self.model.vocabulary,
                background,
                score_threshold,
            )
            chosen = checked_templates(self.model, templates)
        return Call(words, {**options_of_scores(scores), **rest}, chosen)

    def _results(
        self, pictures: Iterable[Pixels], call: Call, batch_size: int
    ) -> Iterator[Segmentation]:
        pictures = iter(pictures)
        while batch := list(islice(pictures, batch_size)):
            yield from self._segment(batch, call)

    def _segment(
        self, pictures: Sequence[Pixels], call: Call
    ) -> list[Segmentation]:
        batch = self._batch(pictures)
        with self._lock, set_for_call(self.model, call) as vocabulary:
            samples = self._predict(batch)
        return [
            Segmentation.of_sample(
                sample, picture.rgb, vocabulary, picture.path
            )
            for picture, sample in zip(pictures, samples, strict=True)
        ]

    def _batch(self, pictures: Sequence[Pixels]) -> dict:
        # MMSegmentation's pipelines take arrays in OpenCV's channel order.
        return pseudo_collate(
            [
                self._pipeline(dict(img=picture.rgb[..., ::-1].copy()))
                for picture in pictures
            ]
        )

    @torch.no_grad()
    def _predict(self, batch: dict) -> list[SegDataSample]:
        with self._precision():
            return self.model.test_step(batch)

    def _precision(self) -> torch.autocast:
        device = next(self.model.parameters()).device
        return mixed_precision(device, self.amp)


def _tracked(
    results: Iterator[Segmentation], total: int | None, progress: bool
) -> Iterator[Segmentation]:
    if not progress:
        return results
    return iter(track(results, 'Segmenting', total))
