# SPDX-License-Identifier: Apache-2.0
import argparse
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import read_image, write_image, write_label_map

from .base import LabelCheck, Preparation, Task, label_table, raw_values

NUM_LABELS = 847
IGNORED = 65535
SHORT_SIDE = 512
SPLITS = dict(validation=('val', 2000), training=('train', 25574))
# What a pickle of strings and NumPy arrays is made of.
_ARRAY_PARTS = {
    (f'numpy.{core}.multiarray', name)
    for core in ('core', '_core')
    for name in ('_reconstruct', 'scalar')
} | {('numpy', 'ndarray'), ('numpy', 'dtype')}


class ADE20K847(Preparation):
    """Decodes the object classes and shrinks large images to 512 pixels.

    Reads index_ade20k.pkl, images/ADE/**/*.jpg and *_seg.png; writes
    images_detectron2/SPLIT/*.jpg and annotations_detectron2/SPLIT/*.tif, on
    which published numbers are measured.
    """

    title = 'ADE20K-847'
    root = 'data/ade/ADE20K_2021_17_01'
    download = (
        'https://groups.csail.mit.edu/vision/datasets/ADE20K/ '
        '(release ADE20K_2021_17_01)'
    )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add ``--splits``."""
        parser.add_argument(
            '--splits',
            nargs='+',
            choices=list(SPLITS),
            default=['validation'],
            help='default: validation',
        )

    def tasks(self, root: Path, options: argparse.Namespace) -> list[Task]:
        """List the images that the index names."""
        index = root / 'index_ade20k.pkl'
        if not index.is_file():
            raise self.missing(index, 'the index')
        tasks = []
        for token, image in _read_index(index):
            for split in options.splits:
                if token != SPLITS[split][0]:
                    continue
                labels = root / 'annotations_detectron2' / split
                outputs = (
                    root / 'images_detectron2' / split / image.name,
                    labels / f'{image.stem}.tif',
                )
                args = (root / image, *outputs)
                tasks.append(Task(convert, args, outputs))
        return tasks

    def checks(
        self, root: Path, options: argparse.Namespace
    ) -> list[LabelCheck]:
        """Know that every class occurs in both splits."""
        return [
            LabelCheck(
                folder=root / 'annotations_detectron2' / split,
                suffix='.tif',
                counts=(SPLITS[split][1],),
                values=NUM_LABELS,
                ignored=IGNORED,
                bits=16,
                images=root / 'images_detectron2' / split,
                present=NUM_LABELS,
            )
            for split in options.splits
        ]


def convert(source: Path, image: Path, labels: Path) -> None:
    """Write the picture and the labels of an image.

    Args:
        source (Path): Picture ``x.jpg`` beside ``x_seg.png``.
        image (Path): JPEG to write.
        labels (Path): TIFF of 16 bits to write.

    Raises:
        FileNotFoundError: If a file is missing.
        InputError: If one is damaged, or the two differ in size.
    """
    pixels = _read_rgb(source)
    classes = _read_rgb(source.with_name(f'{source.stem}_seg.png'))
    if pixels.shape != classes.shape:
        raise InputError(
            f'{source} and its _seg.png differ in size: {pixels.shape[:2]} '
            f'and {classes.shape[:2]}'
        )
    codes = classes[..., 0].astype(np.int64) // 10 * 256 + classes[..., 1]
    known = {value: label for label, value in enumerate(raw_values('ade847'))}
    decoded = label_table(known, IGNORED, np.uint16)[codes]
    height, width = decoded.shape
    short = min(height, width)
    if short > SHORT_SIDE:
        size = tuple(
            SHORT_SIDE if side == short else round(side * SHORT_SIDE / short)
            for side in (width, height)
        )
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        decoded = cv2.resize(decoded, size, interpolation=cv2.INTER_NEAREST)
    write_label_map(labels, decoded, 65536)
    # Small pictures are compressed again as well: so they were everywhere.
    write_image(image, pixels)


def _read_index(path: Path) -> list[tuple[str, Path]]:
    """Read split and path of each image, running nothing in the file.

    Returns:
        list[tuple[str, Path]]: The part of the file name that tells the split,
        and the path below the folder of the release, with which the index
        begins its folders.
    """
    try:
        with open(path, 'rb') as file:
            index = _ArrayUnpickler(file).load()
        images = []
        for folder, name in zip(
            index['folder'], index['filename'], strict=True
        ):
            parts = Path(folder).parts
            below = parts[parts.index('images') :]
            images.append((name.split('_')[1], Path(*below, name)))
    except Exception as error:  # a damaged pickle raises almost anything
        raise InputError(
            f'{path} is no index of ADE20K ({type(error).__name__}: {error})'
        ) from error
    return images


class _ArrayUnpickler(pickle.Unpickler):
    """Knows arrays; whatever else a pickle names stays an empty object."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ARRAY_PARTS:
            return super().find_class(module, name)
        return type(name, (_Unknown,), {})


class _Unknown:
    def __new__(cls, *args: Any, **kwargs: Any) -> '_Unknown':
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _read_rgb(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}, which the index of ADE20K names, is missing'
        )
    # As stored: the release draws its labels on the stored pixels, and the
    # JPEG that is written has no EXIF data.
    return read_image(path, turn=False)
