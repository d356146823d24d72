# SPDX-License-Identifier: Apache-2.0
"""Segmentation of videos, frame by frame."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import atomic_write
from ovseg_mm.utils.picture_files import VIDEO_SUFFIXES
from ovseg_mm.utils.result_files import video_outputs
from ovseg_mm.visualization import draw_overlay
from ovseg_mm.vocabulary import Vocabulary

from .inferencer import OpenVocabInferencer
from .result import Segmentation

# Largest number of classes in the legend below the frames.
_LEGEND = 12
# Frames per second, if the video does not state a number.
_USUAL_RATE = 25.0


@dataclass(frozen=True)
class VideoResult:
    """Result for one video.

    Attributes:
        size (tuple[int, int]): Height and width of a frame in pixels.
        frames (int): Number of frames.
        shares (dict[str, float]): Mean over all frames of the share of pixels
            that a class covers, in (0, 1]. The key is the class name. The
            largest share is first.
        files (dict[str, Path]): Paths of the written files by kind.
    """

    size: tuple[int, int]
    frames: int
    shares: dict[str, float]
    files: dict[str, Path]


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its suffix.

    Args:
        path (Path): The file.

    Returns:
        bool: True for a video.
    """
    return path.suffix.lower() in VIDEO_SUFFIXES


def segment_video(
    inferencer: OpenVocabInferencer,
    path: str | Path,
    words: Vocabulary,
    folder: str | Path,
    *,
    name: str | None = None,
    batch_size: int = 1,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
    **call: Any,
) -> VideoResult:
    """Segment each frame of a video and write the results to two files.

    - ``NAME_overlay.mp4`` (``.avi`` if the video is an ``.avi``): the frames
      with their labels and a legend, without sound.
    - ``NAME_shares.jsonl``: a JSON line for each frame. Its keys are
      ``frame`` (number, from 0), ``time`` (in seconds) and ``shares`` (share
      of the pixels, by class name).

    A failed call leaves no incomplete file.

    Args:
        inferencer (OpenVocabInferencer): The model.
        path (str | Path): Video in a format that OpenCV reads.
        words (Vocabulary): Classes.
        folder (str | Path): Folder of the results; created if missing.
        name (str, optional): NAME in the file names. None: name of the video
            without suffix.
        batch_size (int): Frames that go through the model together.
        on_frame (Callable): Called after each frame with the number of
            finished frames and the number of all frames.
        **call (Any): Options of :meth:`OpenVocabInferencer.__call__`.

    Returns:
        VideoResult: Shares of the classes, and the written files.

    Raises:
        InputError: If the file is damaged or not a video.
        OSError: If a result cannot be written.
    """
    path = Path(path)
    stem = Path(folder, path.stem if name is None else name)
    stem.parent.mkdir(parents=True, exist_ok=True)
    files = {
        kind: stem.with_name(stem.name + ending)
        for kind, ending in video_outputs(path.suffix).items()
    }
    with _reader(path) as source:
        rate = source.get(cv2.CAP_PROP_FPS) or _USUAL_RATE
        total = max(int(source.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        frames = _frames(source)
        count, size, sums = 0, (0, 0), Counter[str]()
        with (
            atomic_write(files['shares']) as lines,
            _Writer(files['overlay'], rate, words) as overlay,
        ):
            while batch := list(islice(frames, batch_size)):
                results = inferencer(
                    batch, words, batch_size=batch_size, **call
                )
                for result in results:
                    shares = result.shares()
                    sums.update(shares)
                    overlay.write(result)
                    _write_shares(lines, count, count / rate, shares)
                    count += 1
                    on_frame(count, max(total, count))
                size = batch[0].shape[:2]
            if not count:
                raise InputError(
                    f'{path} has no frame that OpenCV can decode; the file is '
                    'damaged, or has a codec that OpenCV lacks: convert it '
                    'to H.264'
                )
    shares = {key: value / count for key, value in sums.most_common()}
    return VideoResult(size, count, shares, files)


def _write_shares(
    file: BinaryIO, frame: int, seconds: float, shares: dict[str, float]
) -> None:
    rounded = {name: round(share, 6) for name, share in shares.items()}
    line = dict(frame=frame, time=round(seconds, 3), shares=rounded)
    file.write(json.dumps(line, ensure_ascii=False).encode() + b'\n')


@contextmanager
def _reader(path: Path) -> Iterator[cv2.VideoCapture]:
    source = cv2.VideoCapture(str(path))
    try:
        if not source.isOpened():
            raise InputError(
                f'{path} cannot be read as a video; the file is damaged, or '
                'has a format that OpenCV cannot read: convert it to MP4'
            )
        yield source
    finally:
        source.release()


def _frames(source: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Frames of a video as RGB images, (H, W, 3) uint8."""
    while True:
        found, frame = source.read()
        if not found:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


class _Writer:
    """Context manager that writes a video of overlays.

    All frames get the size of the first one. The file is saved only if the
    ``with`` block ends without an error.

    Args:
        path (Path): File of the video, ``.avi`` or ``.mp4``.
        rate (float): Frames per second.
        words (Vocabulary): Classes.
    """

    def __init__(self, path: Path, rate: float, words: Vocabulary) -> None:
        self.path = path
        self.rate = rate
        self.words = words
        self.part = path.with_name(f'.{path.stem}.part{path.suffix}')
        self.size: tuple[int, int] | None = None
        self.file: cv2.VideoWriter | None = None

    def __enter__(self) -> '_Writer':
        return self

    def write(self, result: Segmentation) -> None:
        """Append the overlay of a result as a frame."""
        if self.size is None or self.file is None:
            self.size = self._size_of(result.image)
            self.file = self._open(self.size)
        height, width = self.size
        sheet = np.full((height, width, 3), 255, np.uint8)
        drawn = result.overlay()[:height, :width]
        sheet[: drawn.shape[0], : drawn.shape[1]] = drawn
        self.file.write(cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))

    def __exit__(self, kind: type | None, *error: object) -> None:
        if self.file is not None:
            self.file.release()
        if kind is None and self.file is not None:
            os.replace(self.part, self.path)
        self.part.unlink(missing_ok=True)

    def _size_of(self, frame: np.ndarray) -> tuple[int, int]:
        """Height and width of a frame with its legend, as even numbers.

        Video encoders need even numbers.
        """
        labels = np.zeros(frame.shape[:2], np.int64)
        count = min(self.words.num_labels, _LEGEND, labels.size)
        labels.flat[:count] = range(count)
        height, width = draw_overlay(frame, labels, self.words).shape[:2]
        return height + height % 2, width + width % 2

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        codec = 'MJPG' if self.path.suffix == '.avi' else 'mp4v'
        file = cv2.VideoWriter(
            str(self.part),
            cv2.VideoWriter.fourcc(*codec),
            self.rate,
            (size[1], size[0]),
        )
        if not file.isOpened():
            raise OSError(
                f'{self.path} cannot be written: this OpenCV has no encoder '
                f'for {self.path.suffix} files; install opencv-python with '
                'pip, which has one'
            )
        return file
