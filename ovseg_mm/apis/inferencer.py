# SPDX-License-Identifier: Apache-2.0
"""Own image, own words."""

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmseg.apis import init_model
from mmseg.structures import SegDataSample

from ovseg_mm.checkpoints import load_checkpoint_into
from ovseg_mm.engine.config_check import check_config
from ovseg_mm.engine.config_file import read_config_file
from ovseg_mm.engine.config_options import merge_options
from ovseg_mm.utils.devices import resolve_device, set_matmul_precision
from ovseg_mm.utils.errors import InputError
from ovseg_mm.visualization import draw_overlay
from ovseg_mm.vocabulary import Vocabulary, load_vocabulary

from .pictures import Picture, is_list, rgb_of


@dataclass(frozen=True)
class Segmentation:
    """What the words mean in one picture.

    Attributes:
        image (np.ndarray): RGB picture, (H, W, 3) uint8.
        labels (np.ndarray): Label of each pixel, (H, W) int64 in [0, L), or
            ``vocabulary.ignore_label`` for none.
        vocabulary (Vocabulary): What the labels stand for.
        scores (np.ndarray, optional): (L, H, W) float32, if they were asked
            for.
    """

    image: np.ndarray
    labels: np.ndarray
    vocabulary: Vocabulary
    scores: np.ndarray | None = None

    def shares(self) -> dict[str, float]:
        """Share of the picture that each found class covers, in [0, 1]."""
        values, counts = np.unique(self.labels, return_counts=True)
        found = sorted(zip(counts.tolist(), values.tolist()), reverse=True)
        return {
            self.vocabulary.label_names[value]: count / self.labels.size
            for count, value in found
            if value < self.vocabulary.num_labels
        }

    def overlay(self, alpha: float = 0.6) -> np.ndarray:
        """The picture with coloured classes and a legend, RGB uint8.

        Args:
            alpha (float): Opacity of the colours, in [0, 1].
        """
        return draw_overlay(self.image, self.labels, self.vocabulary, alpha)


class OpenVocabInferencer:
    """A model that takes pictures and words.

    >>> inferencer = OpenVocabInferencer(config, checkpoint)
    >>> result = inferencer('street.jpg', ['road', 'sofa|couch', 'sky'])
    >>> result.labels, result.shares()

    Words and options are those of one call, also if several threads call at
    the same time: the calls wait for each other. ``model`` keeps its own
    words, and serves MMSegmentation's APIs.

    Args:
        config (str | Path | Config): Config file, bare name of a shipped
            one, or a config.
        checkpoint (str | Path): Weights: our own, or a published file of the
            method, which is converted on the fly.
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
        checkpoint: str | Path,
        device: str | None = None,
        cfg_options: dict | None = None,
    ) -> None:
        device = resolve_device(device)
        if not isinstance(config, Config):
            config = read_config_file(config)
        if cfg_options is not None:
            config = copy.deepcopy(config)
            merge_options(config, cfg_options)
        check_config(config, ('model', 'test_pipeline'), 'mmseg')
        self.model = init_model(config, None, device)
        set_matmul_precision(config, device)
        load_checkpoint_into(self.model, checkpoint)
        self._pipeline = _array_pipeline(self.model.cfg.test_pipeline)
        self._lock = threading.RLock()

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's own words, for calls without ``classes``."""
        return self.model.vocabulary

    def __call__(
        self,
        image: Picture | Sequence[Picture],
        classes: Vocabulary | str | list | dict | None = None,
        keep_scores: bool = False,
    ) -> Segmentation | list[Segmentation]:
        """Segment a picture, or several.

        Args:
            image (Picture | Sequence[Picture]): Path, ``bytes`` of an image
                file, PIL image, RGB array (H, W, 3) uint8, or tensor (3, H,
                W) as torchvision has it; or a list of these. See
                :func:`ovseg_mm.apis.pictures.rgb_of`.
            classes: Words of this call, see
                :func:`ovseg_mm.vocabulary.load_vocabulary`. None: those of
                the model, which the config names and
                ``model.set_vocabulary`` changes.
            keep_scores (bool): Whether the result has ``scores``, which take
                L * H * W * 4 bytes.

        Returns:
            Segmentation | list[Segmentation]: At the size of the picture. A
            list for a list, in its order.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is not a picture or the words are
                unusable.
        """
        words = None if classes is None else load_vocabulary(classes)
        if not is_list(image):
            return self._segment(rgb_of(image), words, keep_scores)
        # All are read first: a bad one ends the call before long work.
        pictures = [
            _numbered(picture, index) for index, picture in enumerate(image)
        ]
        return [self._segment(rgb, words, keep_scores) for rgb in pictures]

    def to(self, device: str | torch.device) -> 'OpenVocabInferencer':
        """Move the model."""
        with self._lock:
            self.model.to(device)
        return self

    def __getstate__(self) -> dict:
        """State of a copy, which has a lock of its own."""
        return {k: v for k, v in self.__dict__.items() if k != '_lock'}

    def __setstate__(self, state: dict) -> None:
        """Take the state of :meth:`__getstate__`."""
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
        """Set the model for one call; gives the words that it has then."""
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
    """Test pipeline for arrays instead of files."""
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
    """RGB pixels of an entry of a list, whose number messages have."""
    try:
        return rgb_of(picture)
    except InputError as error:
        raise InputError(
            f'image {index} (counting from 0): {error}'
        ) from error
