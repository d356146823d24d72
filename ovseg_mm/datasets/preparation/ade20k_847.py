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
# Types in a pickle of strings and NumPy arrays. Other types become empty
# placeholders.
_ARRAY_PARTS = {
    (f'numpy.{core}.multiarray', name)
    for core in ('core', '_core')
    for name in ('_reconstruct', 'scalar')
} | {('numpy', 'ndarray'), ('numpy', 'dtype')}


class ADE20K847(Preparation):
    """Writes label files of ADE20K-847 and resizes large images.

    The shorter side of an image gets at most 512 pixels, as in published
    evaluations. Reads index_ade20k.pkl, images/ADE/**/*.jpg and *_seg.png.
    Writes images_detectron2/SPLIT/*.jpg and
    annotations_detectron2/SPLIT/*.tif.
    """

    title = 'ADE20K-847'
    root = 'data/ade/ADE20K_2021_17_01'
    download = (
        'https://groups.csail.mit.edu/vision/datasets/ADE20K/ '
        '(release ADE20K_2021_17_01)'
    )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the option ``--splits``."""
        parser.add_argument(
            '--splits',
            nargs='+',
            choices=list(SPLITS),
            default=['validation'],
            help='parts of the data set to prepare (default: validation)',
        )

    def tasks(self, root: Path, options: argparse.Namespace) -> list[Task]:
        """Return one task for each image in the index of the release."""
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
        """Return one check for each split.

        A check covers the number of label files, the label values, and
        whether every class occurs.
        """
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
    """Write the resized image and the label file of one image.

    Args:
        source (Path): Image of the release, ``x.jpg``, in the same folder as
            its labels ``x_seg.png``.
        image (Path): JPEG file to write.
        labels (Path): Label file to write, a 16-bit TIFF.

    Raises:
        FileNotFoundError: If the image or the labels are missing.
        InputError: If a file is damaged, or the sizes differ.
    """
    pixels = _read_rgb(source)
    classes = _read_rgb(source.with_name(f'{source.stem}_seg.png'))
    if pixels.shape != classes.shape:
        raise InputError(
            f'{source} has the size {pixels.shape[:2]} (height, width), but '
            f'its label file *_seg.png has the size {classes.shape[:2]}; '
            'download both files again'
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
    # Small images are compressed again too, as in published evaluations.
    write_image(image, pixels)


def _read_index(path: Path) -> list[tuple[str, Path]]:
    """Read the index of the release, without running code from the file.

    Args:
        path (Path): Index file, a pickle.

    Returns:
        list[tuple[str, Path]]: For each image, its split (``'val'`` or
        ``'train'``, as in the file name) and its path below the folder of the
        release.
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
    except Exception as error:  # of a damaged pickle: of any type
        raise InputError(
            f'{path} is not the index of ADE20K ({type(error).__name__}: '
            f'{error}); download it again'
        ) from error
    return images


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickler of strings and arrays; other objects become placeholders."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ARRAY_PARTS:
            return super().find_class(module, name)
        return type(name, (_Placeholder,), {})


class _Placeholder:
    def __new__(cls, *args: Any, **kwargs: Any) -> '_Placeholder':
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _read_rgb(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is in the index of ADE20K, but does not exist; download '
            'the release again'
        )
    # Without EXIF orientation: the labels are drawn on the stored pixels, and
    # the written JPEG has no EXIF data.
    return read_image(path, turn=False)
