# SPDX-License-Identifier: Apache-2.0
"""Segmentation of image, raster and video files."""

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovseg_mm.rasters import is_georeferenced, segment_raster
from ovseg_mm.rasters.segment import TILE
from ovseg_mm.utils.errors import InputError, debugging, error_message
from ovseg_mm.utils.image_files import read_image
from ovseg_mm.utils.picture_files import Job
from ovseg_mm.utils.result_files import check_outputs_known
from ovseg_mm.vocabulary import Vocabulary

from .inferencer import OpenVocabInferencer
from .result import Segmentation
from .video import is_video, segment_video

# Number of pixels above which an image is read in tiles.
LARGEST = 89_478_485

OnPart = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FileOptions:
    """Options of :class:`FileSegmenter`.

    Attributes:
        folder (Path): Folder of the results.
        save (tuple[str, ...]): Kinds of results to save, see
            :mod:`ovseg_mm.utils.result_files`.
        batch_size (int): Images, or frames of a video, that go through the
            model together.
        workers (int): Number of threads that read and write files.
        bands (tuple[int, ...], optional): Bands of rasters to read as
            colours, see :class:`ovseg_mm.rasters.RasterReader`. If given, all
            files except videos are read in tiles.
        tile (int, optional): Side of a tile in pixels. If given, all files
            except videos are read in tiles.
        call (dict[str, Any]): Options of
            :meth:`OpenVocabInferencer.__call__`.
    """

    folder: Path
    save: tuple[str, ...] = ('labels', 'overlay')
    batch_size: int = 1
    workers: int = 2
    bands: tuple[int, ...] | None = None
    tile: int | None = None
    call: dict[str, Any] = field(default_factory=dict)


class FileSegmenter:
    """Segment images, rasters and videos, and save the results.

    Threads read the next images and write the last results while the model
    works. Georeferenced TIFF files and images of more than 89 megapixels are
    read and segmented in tiles.

    Args:
        inferencer (OpenVocabInferencer): The model.
        words (Vocabulary): Classes.
        options (FileOptions): Options.
        on_part (Callable): Called after each tile of a raster and each frame
            of a video. Its arguments are the name of the file, the number of
            finished tiles or frames, and the number of all tiles or frames.
    """

    def __init__(
        self,
        inferencer: OpenVocabInferencer,
        words: Vocabulary,
        options: FileOptions,
        on_part: OnPart = lambda name, done, total: None,
    ) -> None:
        self.inferencer = inferencer
        self.words = words
        self.options = options
        self.on_part = on_part

    def run(self, jobs: Iterable[Job]) -> Iterator[dict[str, Any]]:
        """Segment files and yield a record of each file.

        Args:
            jobs (Iterable[Job]): The files.

        Yields:
            dict[str, Any]: Record of a file, roughly in the order of ``jobs``.
            For a file that cannot be read: ``image`` (path) and ``error``
            (message). Otherwise:

            - ``image``: path of the file;
            - ``width`` and ``height`` in pixels; for a video also ``frames``;
            - ``shares``: share of the pixels that each class of the label
              map covers, by class name;
            - ``files``: paths of the results by kind;
            - ``seconds``: time that the model needed; for rasters and videos,
              the time for reading and writing is included.

        Raises:
            OSError: If a result cannot be written.
        """
        options, left = self.options, iter(jobs)
        ahead = options.batch_size + options.workers
        batch: list[tuple[Job, np.ndarray]] = []
        reading: deque[tuple[Job, Future]] = deque()
        writing: deque[Future] = deque()
        with ThreadPoolExecutor(options.workers) as pool:
            while True:
                for job in islice(left, ahead - len(reading)):
                    reading.append((job, pool.submit(self._read, job)))
                if batch and (not reading or len(batch) == options.batch_size):
                    for job, result, seconds in self._segment(batch):
                        writing.append(
                            pool.submit(self._save, job, result, seconds)
                        )
                    batch = []
                while writing and (
                    not reading or len(writing) > ahead or writing[0].done()
                ):
                    yield writing.popleft().result()
                if not reading:
                    break
                job, pixels = reading.popleft()
                try:
                    rgb = pixels.result()
                    if rgb is None:
                        yield self._in_parts(job)
                    else:
                        batch.append((job, rgb))
                except (OSError, ImportError, InputError) as error:
                    if debugging():
                        raise
                    yield dict(image=str(job.path), error=error_message(error))

    def _read(self, job: Job) -> np.ndarray | None:
        """RGB pixels of an image, (H, W, 3) uint8.

        None for a raster or a video, which is read in parts.
        """
        if is_video(job.path) or self._is_raster(job.path):
            return None
        check_outputs_known(self.options.save)
        try:
            return read_image(job.path)
        except InputError as error:
            if job.path.suffix.lower() not in ('.tif', '.tiff'):
                raise
            raise InputError(
                f'{error}; if the bands of this file are not colours, '
                'choose one or three of them with --bands'
            ) from error

    def _is_raster(self, path: Path) -> bool:
        if self.options.bands is not None or self.options.tile is not None:
            return True
        if is_georeferenced(path):
            if find_spec('rasterio') is not None:
                return True
            warnings.warn(
                f'{path} is georeferenced, but its results will not be; '
                "to keep the coordinates, run: pip install 'ovseg_mm[geo]'"
            )
        try:
            with Image.open(path) as image:
                return image.width * image.height > LARGEST
        except Image.DecompressionBombError:
            return True
        except Exception:  # read_image reports what is wrong with the file
            return False

    def _segment(
        self, batch: Sequence[tuple[Job, np.ndarray]]
    ) -> Iterator[tuple[Job, Segmentation, float]]:
        scores = 'all' if 'heatmaps' in self.options.save else None
        start = time.perf_counter()
        results = self.inferencer(
            [rgb for _, rgb in batch],
            self.words,
            scores=scores,
            batch_size=len(batch),
            **self.options.call,
        )
        seconds = (time.perf_counter() - start) / len(batch)
        for (job, _), result in zip(batch, results):
            yield job, replace(result, path=job.path), seconds

    def _save(
        self, job: Job, result: Segmentation, seconds: float
    ) -> dict[str, Any]:
        files = result.save(self.options.folder, self.options.save, job.name)
        height, width = result.labels.shape
        return _record(
            job, (height, width), result.shares(), files, seconds=seconds
        )

    def _in_parts(self, job: Job) -> dict[str, Any]:
        """Segment a raster in tiles or a video in batches; return a record."""
        options, start = self.options, time.perf_counter()

        def on_part(done: int, total: int) -> None:
            self.on_part(job.path.name, done, total)

        if is_video(job.path):
            video = segment_video(
                self.inferencer,
                job.path,
                self.words,
                options.folder,
                name=job.name,
                batch_size=options.batch_size,
                on_frame=on_part,
                **options.call,
            )
            size, shares, files = video.size, video.shares, video.files
            more = dict(frames=video.frames)
        else:
            raster = segment_raster(
                self.inferencer,
                job.path,
                self.words,
                options.folder,
                save=options.save,
                name=job.name,
                bands=options.bands,
                tile=options.tile or TILE,
                on_tile=on_part,
                **options.call,
            )
            size, shares, files = raster.size, raster.shares, raster.files
            more = {}
        return _record(
            job,
            size,
            shares,
            files,
            seconds=time.perf_counter() - start,
            **more,
        )


def _record(
    job: Job,
    size: tuple[int, int],
    shares: dict[str, float],
    files: dict[str, Path],
    seconds: float,
    **more: Any,
) -> dict[str, Any]:
    return dict(
        image=str(job.path),
        width=size[1],
        height=size[0],
        **more,
        shares={name: round(share, 6) for name, share in shares.items()},
        files={kind: str(path) for kind, path in files.items()},
        seconds=round(seconds, 4),
    )
