# SPDX-License-Identifier: Apache-2.0
"""Segmentation of an image with arbitrary class texts."""

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast, overload

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmseg.apis import init_model
from mmseg.structures import SegDataSample

from ovseg_mm.engine.config_check import check_config
from ovseg_mm.engine.config_options import merge_options
from ovseg_mm.engine.weights import check_checkpoint, load_weights
from ovseg_mm.utils.config_file import read_config_file
from ovseg_mm.utils.devices import resolve_device, set_matmul_precision
from ovseg_mm.utils.errors import InputError, config_errors
from ovseg_mm.visualization import draw_overlay
from ovseg_mm.vocabulary import Vocabulary, load_vocabulary

from .pictures import Picture, is_list, rgb_of


@dataclass(frozen=True)
class Segmentation:
    """Result for one image.

    Attributes:
        image (np.ndarray): RGB image, (H, W, 3) uint8.
        labels (np.ndarray): Label of each pixel, (H, W) int64 in [0, L), or
            ``vocabulary.ignore_label`` for none.
        vocabulary (Vocabulary): Class texts and names of the labels.
        scores (np.ndarray, optional): Score of each label, (L, H, W) float32;
            None unless ``keep_scores`` is set.
    """

    image: np.ndarray
    labels: np.ndarray
    vocabulary: Vocabulary
    scores: np.ndarray | None = None

    def shares(self) -> dict[str, float]:
        """Share of the image that each found class covers.

        Returns:
            dict[str, float]: Share in (0, 1] by class name, largest first.
        """
        values, counts = np.unique(self.labels, return_counts=True)
        found = sorted(zip(counts.tolist(), values.tolist()), reverse=True)
        return {
            self.vocabulary.label_names[value]: count / self.labels.size
            for count, value in found
            if value < self.vocabulary.num_labels
        }

    def overlay(self, alpha: float = 0.6) -> np.ndarray:
        """Draw the labels and a legend onto the image.

        Args:
            alpha (float): Opacity of the colours, in [0, 1].

        Returns:
            np.ndarray: RGB, (H', W', 3) uint8; the legend adds to the size.
        """
        return draw_overlay(self.image, self.labels, self.vocabulary, alpha)


class OpenVocabInferencer:
    """Model that segments images with arbitrary class texts.

    >>> inferencer = OpenVocabInferencer(config, checkpoint)
    >>> result = inferencer('street.jpg', ['road', 'sofa|couch', 'sky'])
    >>> result.labels, result.shares()

    Class texts and options are valid for one call. Several threads may share
    an inferencer; their calls run one after the other. ``model`` keeps its
    own vocabulary and works with MMSegmentation's APIs.

    Args:
        config (str | Path | Config): Config file, bare name of a shipped
            one, or a config.
        checkpoint (str | Path, optional): Checkpoint, ours or a published
            one of the method. None for methods without training, which have
            CLIP's weights.
        device (str, optional): Such as ``'cuda:0'``. None: the best one.
        cfg_options (dict, optional): Settings to override in the config.

    Raises:
        FileNotFoundError: If config or checkpoint do not exist.
        ValueError: If the checkpoint does not fit the config, or the device
            cannot be used.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None = None,
        device: str | None = None,
        cfg_options: dict | None = None,
    ) -> None:
        device = resolve_device(device)
        check_checkpoint(checkpoint)
        if not isinstance(config, Config):
            config = read_config_file(config)
        if cfg_options is not None:
            config = copy.deepcopy(config)
            merge_options(config, cfg_options)
        check_config(config, ('model', 'test_pipeline'), 'mmseg')
        with config_errors():
            self.model = init_model(config, None, device)
        set_matmul_precision(config, device)
        load_weights(self.model, checkpoint)
        self._pipeline = _array_pipeline(self.model.cfg.test_pipeline)
        self._lock = threading.RLock()

    @property
    def vocabulary(self) -> Vocabulary:
        """Vocabulary of the model, used by calls without ``classes``."""
        return self.model.vocabulary

    @overload
    def __call__(
        self,
        image: Picture,
        classes: Vocabulary | str | list | dict | None = None,
        keep_scores: bool = False,
    ) -> Segmentation: ...

    @overload
    def __call__(
        self,
        image: list[Picture] | tuple[Picture, ...],
        classes: Vocabulary | str | list | dict | None = None,
        keep_scores: bool = False,
    ) -> list[Segmentation]: ...

    def __call__(
        self,
        image: Picture | list[Picture] | tuple[Picture, ...],
        classes: Vocabulary | str | list | dict | None = None,
        keep_scores: bool = False,
    ) -> Segmentation | list[Segmentation]:
        """Segment one image or several.

        Args:
            image (Picture | list[Picture] | tuple[Picture, ...]): Path,
                ``bytes`` of an image file, PIL image, RGB array (H, W, 3)
                uint8, or tensor (3, H, W) as of torchvision; or a list of
                these. See :func:`ovseg_mm.apis.pictures.rgb_of`.
            classes (Vocabulary | str | list | dict, optional): Class texts of
                this call, see :func:`ovseg_mm.vocabulary.load_vocabulary`.
                None: class texts of the model, which the config names and
                ``model.set_vocabulary`` changes.
            keep_scores (bool): Whether the result has ``scores``, which take
                L * H * W * 4 bytes.

        Returns:
            Segmentation | list[Segmentation]: Result at the size of the
            image; for a list, a list in the same order.

        Raises:
            FileNotFoundError: If there is no such file.
            InputError: If the file is not an image or the class texts are
                not usable.
        """
        words = None if classes is None else load_vocabulary(classes)
        if not is_list(image):
            # mypy cannot narrow a type by the negative of a guard.
            picture = cast('Picture', image)
            return self._segment(rgb_of(picture), words, keep_scores)
        # All are read first: a bad one ends the call before long work.
        pictures = [
            _numbered(picture, index) for index, picture in enumerate(image)
        ]
        return [self._segment(rgb, words, keep_scores) for rgb in pictures]

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
        """State without the lock, which cannot be copied."""
        return {k: v for k, v in self.__dict__.items() if k != '_lock'}

    def __setstate__(self, state: dict) -> None:
        """Restore the state of :meth:`__getstate__` with a new lock."""
        self.__dict__.update(state, _lock=threading.RLock())

    def _segment(
        self, rgb: np.ndarray, words: Vocabulary | None, keep_scores: bool
    ) -> Segmentation:
        # MMSegmentation's pipelines take arrays in OpenCV's channel order.
        data = self._pipeline(dict(img=rgb[..., ::-1].copy()))
        batch = {key: [value] for key, value in data.items()}
        with self._set_for_call(words, keep_scores) as vocabulary:
            sample = self._predict(batch)
        scores = None
        if keep_scores:
            scores = sample.seg_logits.data.cpu().numpy()
        labels = sample.pred_sem_seg.data[0].cpu().numpy()
        return Segmentation(rgb, labels, vocabulary, scores)

    @torch.no_grad()
    def _predict(self, batch: dict) -> SegDataSample:
        return self.model.test_step(batch)[0]

    @contextmanager
    def _set_for_call(
        self, words: Vocabulary | None, keep_scores: bool
    ) -> Iterator[Vocabulary]:
        """Set vocabulary and options for one call; yields the vocabulary."""
        model = self.model
        with self._lock:
            own_words, own_cfg = model.vocabulary, model.test_cfg
            try:
                if words is not None:
                    model.set_vocabulary(words)
                model.test_cfg = copy.copy(own_cfg)
                model.test_cfg['keep_scores'] = keep_scores
                yield model.vocabulary
            finally:
                model.test_cfg = own_cfg
                model.set_vocabulary(own_words)


def _array_pipeline(pipeline: list[dict]) -> Compose:
    """Test pipeline that takes arrays instead of files."""
    steps = [
        step
        for step in copy.deepcopy(list(pipeline))
        if 'Annotations' not in _type_name(step)
    ]
    steps[0] = dict(
        type='LoadImageFromNDArray',
        to_float32=steps[0].get('to_float32', False),
    )
    return Compose(steps)


def _type_name(step: dict) -> str:
    kind = step['type']
    return kind if isinstance(kind, str) else kind.__name__


def _numbered(picture: Picture, index: int) -> np.ndarray:
    """RGB pixels of an element of a list; messages name its index."""
    try:
        return rgb_of(picture)
    except InputError as error:
        raise InputError(
            f'image {index} (counting from 0): {error}'
        ) from error
