# SPDX-License-Identifier: Apache-2.0
import argparse
import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from ovseg_mm.utils.clip_statistics import CLIP_MEAN_COLOUR
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import decode_image, write_image
from ovseg_mm.utils.paths import expanded, write_text

from ..transforms.loading import compare_sizes
from .base import (
    LabelCheck,
    Preparation,
    Task,
    read_8_bit_labels,
    shipped_vocabulary,
)

FOLDER = 'masked_crops'
COLUMNS = ('filepath', 'title', 'image')


@dataclass(frozen=True)
class _Source:
    """Data set to crop from.

    ``first_label`` is the pixel value of class 0 in the label files.
    """

    root: str
    images: str
    labels: str
    suffix: str
    first_label: int
    vocabulary: str


SOURCES = {
    'coco': _Source(
        root='data/coco_stuff164k',
        images='images/train2017',
        labels='annotations/train2017',
        suffix='_labelTrainIds.png',
        first_label=0,
        vocabulary='coco',
    ),
    'ade150': _Source(
        root='data/ade/ADEChallengeData2016',
        images='images/validation',
        labels='annotations/validation',
        suffix='.png',
        first_label=1,
        vocabulary='ade150-synonyms',
    ),
}


class CropCaptions(Preparation):
    """Writes one masked crop for each class in each image.

    A crop shows the pixels of one class; other pixels have a fill colour.
    Writes the crops masked_crops/SOURCE/*.png and the table
    masked_crops/SOURCE.tsv, which CropCaptionDataset reads. The table has the
    columns filepath (crop), title (class name) and image. SOURCE is coco
    (training images of COCO-Stuff) or ade150 (validation images of ADE20K,
    with the class names of the vocabulary ade150-synonyms).
    """

    title = 'Masked crops'
    download = 'the page that data/README.md lists for this data set'

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options ``--source`` and ``--min-pixels``."""
        parser.add_argument(
            '--source',
            choices=list(SOURCES),
            default='coco',
            help='data set to crop from (default: %(default)s)',
        )
        parser.add_argument(
            '--min-pixels',
            type=int,
            default=100,
            help='classes with fewer pixels in an image get no crop '
            '(default: %(default)s)',
        )

    def folder(self, options: argparse.Namespace) -> Path:
        """Return the folder of the data set that ``--source`` names."""
        return expanded(options.root or SOURCES[options.source].root)

    def tasks(self, root: Path, options: argparse.Namespace) -> list[Task]:
        """Return one task for each image.

        A task writes the crops of its image, and a file with one row for each
        crop. :meth:`finish` joins the rows to the table
        masked_crops/SOURCE.tsv.
        """
        source = SOURCES[options.source]
        names = sorted(
            path.name.removesuffix(source.suffix)
            for path in (root / source.labels).glob(f'*{source.suffix}')
        )
        if not names:
            raise self.missing(
                root / source.labels,
                f'the folder with the *{source.suffix} files',
            )
        tasks = []
        for name in names:
            rows = root / FOLDER / options.source / f'{name}.tsv'
            args = (root, options.source, name, rows, options.min_pixels)
            tasks.append(Task(cut_crops, args, (rows,)))
        return tasks

    def finish(self, root: Path, options: argparse.Namespace) -> None:
        """Write the table masked_crops/SOURCE.tsv from the rows of all images.

        Each task wrote one file with the rows of its image.
        """
        folder = root / FOLDER
        parts = sorted((folder / options.source).glob('*.tsv'))
        text = _table([COLUMNS]) + ''.join(
            part.read_text(encoding='utf-8') for part in parts
        )
        write_text(folder / f'{options.source}.tsv', text)

    def checks(
        self, root: Path, options: argparse.Namespace
    ) -> list[LabelCheck]:
        """Raise an error, because crops are not label files.

        Args:
            root (Path): Folder of the data set.
            options (argparse.Namespace): Options of the command line.

        Returns:
            list[LabelCheck]: Nothing, since an error is always raised.

        Raises:
            InputError: Always.
        """
        raise InputError(
            'masked crops cannot be verified, since they are not label files; '
            'verify the data set that they are made from'
        )


def cut_crops(
    root: Path, source: str, name: str, rows: Path, min_pixels: int
) -> None:
    """Write the masked crops of one image, and one table row for each crop.

    Args:
        root (Path): Folder of the data set.
        source (str): Name of the data set, a key of ``SOURCES``.
        name (str): Name of the image without suffix.
        rows (Path): TSV file to write the table rows to, without a header.
        min_pixels (int): Classes with fewer pixels in the image get no crop.
    """
    place = SOURCES[source]
    names = shipped_vocabulary(place.vocabulary).names
    label_file = root / place.labels / f'{name}{place.suffix}'
    labels = read_8_bit_labels(label_file).astype(int)
    labels -= place.first_label
    image = Path(place.images, f'{name}.jpg')
    path = root / image
    pixels, orientation = decode_image(path.read_bytes(), str(path))
    doubt = compare_sizes(
        str(path),
        str(label_file),
        pixels.shape[:2],
        labels.shape,
        orientation,
        applied=True,
    )
    if doubt:
        print_log(doubt, level=logging.WARNING)
    found, counts = np.unique(labels, return_counts=True)
    table = []
    for label, count in zip(found, counts):
        if not 0 <= label < len(names) or count < min_pixels:
            continue
        crop = Path(FOLDER, source, f'{name}_{label}.png')
        write_image(root / crop, masked_crop(pixels, labels == label))
        table.append((crop.as_posix(), names[label], image.as_posix()))
    write_text(rows, _table(table))


def masked_crop(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Crop an image to the bounding box of a mask.

    Args:
        pixels (np.ndarray): RGB image, (H, W, 3) uint8.
        mask (np.ndarray): Mask with at least one pixel, (H, W) bool.

    Returns:
        np.ndarray: RGB image of the size of the box, (box height, box width,
        3) uint8. Pixels outside the mask are filled with the mean colour of
        CLIP's training images.
    """
    box = tuple(
        slice(inside[0], inside[-1] + 1)
        for inside in (np.flatnonzero(mask.any(axis=a)) for a in (1, 0))
    )
    fill = np.array(CLIP_MEAN_COLOUR, dtype=np.uint8)
    return np.where(mask[box][..., None], pixels[box], fill)


def _table(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter='\t', lineterminator='\n').writerows(rows)
    return text.getvalue()
