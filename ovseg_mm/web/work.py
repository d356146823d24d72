# SPDX-License-Identifier: Apache-2.0
"""Segmentation, label maps and drawings for the web page."""

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ovseg_mm.apis import OpenVocabInferencer, Segmentation
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import read_image
from ovseg_mm.visualization import draw_heatmap, draw_panels
from ovseg_mm.visualization.overlay import enlargement
from ovseg_mm.vocabulary import Vocabulary, load_vocabulary
from ovseg_mm.vocabulary.entries import split_classes

# Larger images are made smaller, so that a visitor cannot exhaust memory.
MAX_PIXELS = 600_000
# Images above this area are refused, since decoding alone takes too much.
MAX_DECODED_PIXELS = 100_000_000
MAX_WORDS = 1000
# A result with L labels and H x W pixels has L * H * W scores. If there are at
# most _MAX_SCORES of them, all are computed; if there are at most _MAX_KEPT,
# all are kept. Otherwise, only the scores of the _KEPT_BEST best labels of
# each pixel are computed or kept.
_MAX_SCORES = 100_000_000
_MAX_KEPT = 16_000_000
_KEPT_BEST = 8
# Longest side of the image of best words, and number of words of each pixel.
_TABLE_SIDE = 480
_SHOWN_BEST = 3

# Names on the download buttons, by kind of result.
DOWNLOADS = dict(labels='labels', overlay='overlay', geojson='GeoJSON')


def read_words(words: str, shipped: str | None) -> Vocabulary:
    """Read the vocabulary from the fields of the page.

    Args:
        words (str): Class texts, separated by ``';'`` or line ends.
        shipped (str, optional): Key of a shipped vocabulary to use instead of
            ``words``.

    Returns:
        Vocabulary: The vocabulary.

    Raises:
        InputError: If there are no words, more than ``MAX_WORDS``, or words
            that cannot be used.
    """
    if shipped:
        return _limited(load_vocabulary(shipped))
    texts = split_classes(words or '')
    if not texts:
        raise InputError(
            'there are no words yet; write what to look for, such as: cat; '
            'dog; sky'
        )
    _check_number(len(texts))
    return _limited(load_vocabulary(texts))


def segment(
    inferencer: OpenVocabInferencer,
    path: str | None,
    vocabulary: Vocabulary,
    background: str = '',
) -> Segmentation:
    """Segment an uploaded image.

    Args:
        inferencer (OpenVocabInferencer): The model.
        path (str, optional): Image file. None: no image was uploaded.
        vocabulary (Vocabulary): Class texts.
        background (str): Background words, separated by ``';'`` or line ends.
            Pixels that fit one of them best become background.

    Returns:
        Segmentation: Result with scores in half precision, at most about 40
        MB. For many labels, only the best scores of each pixel are kept.

    Raises:
        InputError: If no image was uploaded, the file is not an image or is
            too large, or there are too many words.
    """
    image = read_upload(path)
    others = split_classes(background or '')
    _check_number(vocabulary.num_texts + len(others))
    few = vocabulary.num_labels * image[..., 0].size <= _MAX_SCORES
    result = inferencer(
        image,
        vocabulary,
        scores='all' if few else _KEPT_BEST,
        background=others or None,
    )
    return _compact(result)


def read_upload(path: str | None) -> np.ndarray:
    """Read an uploaded image, and reduce it to at most ``MAX_PIXELS`` pixels.

    Args:
        path (str, optional): Image file. None: no image was uploaded.

    Returns:
        np.ndarray: RGB image, (H, W, 3) uint8.

    Raises:
        InputError: If no image was uploaded, or the file is not an image or
            has more than ``MAX_DECODED_PIXELS`` pixels.
    """
    if path is None:
        raise InputError(
            'there is no image yet; drop or paste an image, or click to '
            'choose a file'
        )
    try:
        with Image.open(path) as file:
            pixels = file.width * file.height
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f'{Path(path).name} is not an image that can be read; use a '
            'JPEG, PNG or WebP file'
        ) from error
    if pixels > MAX_DECODED_PIXELS:
        raise InputError(
            f'the image has {pixels / 1e6:.0f} megapixels, but the page takes '
            f'at most {MAX_DECODED_PIXELS / 1e6:.0f}; make the image smaller'
        )
    try:
        image = read_image(path)
    except OSError as error:
        raise InputError(
            f'the image is damaged ({error}); use another file'
        ) from error
    height, width = image.shape[:2]
    scale = (MAX_PIXELS / (height * width)) ** 0.5
    if scale >= 1:
        return image
    size = max(1, int(width * scale)), max(1, int(height * scale))
    resized = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    return np.array(resized)


def hide_unsure(result: Segmentation, threshold: float) -> Segmentation:
    """Remove the labels of pixels whose best score is below a threshold.

    Args:
        result (Segmentation): Result with scores.
        threshold (float): The threshold. If it is 0 or less, no label is
            removed.

    Returns:
        Segmentation: The result without these labels.
    """
    if threshold <= 0:
        return result
    sure = _scores(result).max(axis=0) >= threshold
    ignored = result.vocabulary.ignore_label
    return replace(result, labels=np.where(sure, result.labels, ignored))


def view_of(
    result: Segmentation, alpha: float, name: str | None = None
) -> dict[str, Any]:
    """Data for the viewer of the page; see ``viewer.js``.

    Args:
        result (Segmentation): Result with scores.
        alpha (float): Opacity of the colours, in [0, 1].
        name (str, optional): Class whose scores are drawn. None: the labels
            of all classes are drawn.

    Returns:
        dict[str, Any]: The data, by key:

        - ``picture``: drawing as a data URL;
        - ``aspect``: width of the drawing divided by its height;
        - ``part``: width of the image divided by the width of the drawing, and
          the same for the heights; the rest of the drawing is the legend;
        - ``legend``: name, share and colour of each class of the label map,
          largest first;
        - ``chosen``: the argument ``name``;
        - ``best``: best words of each pixel, see :func:`_best_words`.
    """
    height, width = result.labels.shape
    part = [1.0, 1.0]
    if name is None:
        drawn = draw_panels(
            result.image,
            {'': result.labels},
            result.class_names,
            result.palette,
            alpha=alpha,
            with_legend=False,
        )
    else:
        drawn = draw_heatmap(result.image, result.scores_of(name))
        factor = enlargement(result.labels.shape)
        part = [
            width * factor / drawn.shape[1],
            height * factor / drawn.shape[0],
        ]
    colours = dict(zip(result.class_names, result.palette))
    legend = [
        dict(name=found, share=share, colour=list(colours[found]))
        for found, share in result.shares().items()
    ]
    return dict(
        picture=_data_url(drawn, 'JPEG', quality=92),
        aspect=drawn.shape[1] / drawn.shape[0],
        part=part,
        legend=legend,
        chosen=name,
        best=_best_words(result),
    )


def _best_words(result: Segmentation) -> dict[str, Any]:
    """Best words of each pixel, as an image that a browser can read.

    The result has these keys:

    - ``table``: data URL of a PNG of k images, one below the other. The first
      image has the best word of each pixel, the second image the second best
      word, and so on. Red is the high byte of the label, green is the low
      byte. Blue is the score: 0 for the score ``low``, 255 for ``high``;
    - ``count``: the number k;
    - ``low`` and ``high``: lowest and highest score in ``table``;
    - ``names``: class name of each label.
    """
    height, width = result.labels.shape
    step = max(1, -(-max(height, width) // _TABLE_SIDE))
    scores = _scores(result)[:, ::step, ::step].astype(np.float32)
    count = min(_SHOWN_BEST, len(scores))
    order = np.argsort(-scores, axis=0, kind='stable')[:count]
    best = np.take_along_axis(scores, order, axis=0)
    if result.score_labels is not None:
        chosen = result.score_labels[:, ::step, ::step].astype(np.int64)
        order = np.take_along_axis(chosen, order, axis=0)
    best = np.nan_to_num(best, nan=0, posinf=0, neginf=0)
    low, high = float(best.min()), float(best.max())
    steps = (best - low) / max(high - low, 1e-6) * 255
    table = np.stack([order >> 8, order & 255, np.rint(steps)], axis=-1)
    return dict(
        table=_data_url(table.astype(np.uint8).reshape(-1, *table.shape[2:])),
        count=count,
        low=low,
        high=high,
        names=list(result.class_names),
    )


def _compact(result: Segmentation) -> Segmentation:
    """Convert scores to half precision, to save memory.

    If there are more than ``_MAX_KEPT`` scores, only the best scores of each
    pixel are kept.
    """
    scores, ranked = torch.from_numpy(_scores(result)), result.score_labels
    if ranked is None and scores.numel() > _MAX_KEPT:
        scores, order = scores.topk(min(_KEPT_BEST, len(scores)), dim=0)
        ranked = order.numpy()
    return replace(
        result,
        scores=scores.half().numpy(),
        score_labels=None if ranked is None else ranked.astype(np.uint16),
    )


def _scores(result: Segmentation) -> np.ndarray:
    assert result.scores is not None, 'segment() asks for scores'
    return result.scores


def _data_url(
    pixels: np.ndarray, file_format: str = 'PNG', **options: Any
) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    content = base64.b64encode(file.getvalue()).decode()
    return f'data:image/{file_format.lower()};base64,{content}'


def _limited(vocabulary: Vocabulary) -> Vocabulary:
    _check_number(vocabulary.num_texts)
    return vocabulary


def _check_number(count: int) -> None:
    if count > MAX_WORDS:
        raise InputError(
            f'{count} words are too many for this page, which takes at most '
            f'{MAX_WORDS}; the command predict takes any number'
        )
