# SPDX-License-Identifier: Apache-2.0
"""Own image, own words."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmseg.apis import inference_model, init_model

from ovseg_mm.checkpoints import load_checkpoint_into
from ovseg_mm.datasets import read_image
from ovseg_mm.devices import usable_device
from ovseg_mm.paths import find_config
from ovseg_mm.visualization import draw_overlay
from ovseg_mm.vocabulary import Vocabulary


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
        device = usable_device(device)
        if not isinstance(config, Config):
            config = Config.fromfile(find_config(config))
        self.model = init_model(config, None, device, cfg_options)
        load_checkpoint_into(self.model, checkpoint)

    @property
    def vocabulary(self) -> Vocabulary:
        """The current words."""
        return self.model.vocabulary

    def __call__(
        self,
        image: str | Path | np.ndarray,
        classes: Vocabulary | str | list | dict | None = None,
        keep_scores: bool = False,
    ) -> Segmentation:
        """Segment a picture.

        Args:
            image (str | Path | np.ndarray): File, or RGB array (H, W, 3)
                uint8.
            classes: Words, see :func:`ovseg_mm.vocabulary.load_vocabulary`;
                they stay for the next calls. None: those of before.
            keep_scores (bool): Whether the result has ``scores``, which take
                L * H * W * 4 bytes.

        Returns:
            Segmentation: At the size of the picture.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is no picture or the words are unusable.
        """
        if classes is not None:
            self.model.set_vocabulary(classes)
        pixels = _read_rgb(image)
        self.model.test_cfg['keep_scores'] = keep_scores
        # MMSegmentation's pipelines take arrays in OpenCV's channel order.
        sample = inference_model(self.model, pixels[..., ::-1].copy())
        scores = None
        if keep_scores:
            scores = sample.seg_logits.data.cpu().numpy()
        labels = sample.pred_sem_seg.data[0].cpu().numpy()
        return Segmentation(pixels, labels, self.vocabulary, scores)

    def to(self, device: str | torch.device) -> 'OpenVocabInferencer':
        """Move the model."""
        self.model.to(device)
        return self


def _read_rgb(image: str | Path | np.ndarray) -> np.ndarray:
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                'an image array must be RGB, (height, width, 3) uint8, but '
                f'it has the shape {image.shape} and the type {image.dtype}'
            )
        return image
    return read_image(image)
