# SPDX-License-Identifier: Apache-2.0
import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import write_label_map
from ovseg_mm.utils.paths import expanded

from .base import (
    LabelCheck,
    Preparation,
    Task,
    read_8_bit_labels,
    read_list,
    shipped_vocabulary,
    write_list,
)

FOLDER = 'labels_seen'


@dataclass(frozen=True)
class _Source:
    """Training label files of a data set.

    ``folder`` is their folder. ``samples`` is a text file that lists their
    names; None: all files of the folder that end in ``suffix``.
    """

    folder: str
    samples: str | None = None
    suffix: str = '.png'


@dataclass(frozen=True)
class _Split:
    """Files of a zero-shot split.

    ``first_label`` is the pixel value of class 0 in the label files.
    """

    root: str
    images: str
    first_label: int
    sources: tuple[_Source, ...]


_CONTEXT = _Split(
    root='data/VOCdevkit/VOC2010',
    images='JPEGImages',
    first_label=1,
    sources=(
        _Source(
            'SegmentationClassContext',
            'ImageSets/SegmentationContext/train.txt',
        ),
    ),
)
SPLITS = {
    'coco-156-15': _Split(
        root='data/coco_stuff164k',
        images='images/train2017',
        first_label=0,
        sources=(
            _Source('annotations/train2017', suffix='_labelTrainIds.png'),
        ),
    ),
    'voc20-15-5': _Split(
        root='data/VOCdevkit/VOC2012',
        images='JPEGImages',
        first_label=1,
        sources=(
            _Source('SegmentationClass', 'ImageSets/Segmentation/train.txt'),
            _Source('SegmentationClassAug', 'ImageSets/Segmentation/aug.txt'),
        ),
    ),
    'pc59-49-10': _CONTEXT,
    'pc59-49-10-cascade': _CONTEXT,
}


class ZeroShot(Preparation):
    """Writes training labels of only the seen classes, numbered from 0.

    Writes the label files labels_seen/SPLIT/*.png, in which pixels without a
    seen class are 255, and labels_seen/SPLIT.txt, the list of images with a
    seen class. The label files are for other programs: with
    unseen_labels='ignore', the data sets of this package change the labels in
    the same way while they load them. In this package, set the list as
    ann_file.
    """

    title = 'Zero-shot training labels'
    download = 'the page that data/README.md lists for this data set'

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the option ``--split``."""
        parser.add_argument(
            '--split',
            choices=list(SPLITS),
            required=True,
            help='zero-shot split, named after its vocabulary',
        )

    def folder(self, options: argparse.Namespace) -> Path:
        """Return the folder of the data set that ``--split`` belongs to."""
        return expanded(options.root or SPLITS[options.split].root)

    def tasks(self, root: Path, options: argparse.Namespace) -> list[Task]:
        """Return one task for each training label file."""
        split = SPLITS[options.split]
        tasks = []
        for source in split.sources:
            for name in self._names(root, source):
                labels = root / source.folder / f'{name}{source.suffix}'
                output = root / FOLDER / options.split / f'{name}.png'
                args = (labels, output, options.split, split.first_label)
                tasks.append(Task(keep_seen, args, (output,)))
        return tasks

    def finish(self, root: Path, options: argparse.Namespace) -> None:
        """Write the list of the images that show a seen class."""
        folder = root / FOLDER
        made = (folder / options.split).glob('*.png')
        names = sorted(path.stem for path in made)
        write_list(folder / f'{options.split}.txt', names)

    def checks(
        self, root: Path, options: argparse.Namespace
    ) -> list[LabelCheck]:
        """Return one check of the label files.

        The check covers the label values, and whether every seen class occurs.
        """
        num_seen = len(shipped_vocabulary(options.split).seen)
        return [
            LabelCheck(
                folder=root / FOLDER / options.split,
                suffix='.png',
                counts=(),
                values=num_seen,
                ignored=255,
                bits=8,
                images=root / SPLITS[options.split].images,
                present=num_seen,
            )
        ]

    def _names(self, root: Path, source: _Source) -> list[str]:
        if source.samples is not None:
            path = root / source.samples
            if not path.is_file():
                raise self.missing(path, 'the list of training images')
            return read_list(path)
        names = sorted(
            path.name.removesuffix(source.suffix)
            for path in (root / source.folder).glob(f'*{source.suffix}')
        )
        if not names:
            raise self.missing(
                root / source.folder,
                f'the folder with the *{source.suffix} files',
            )
        return names


def keep_seen(source: Path, output: Path, split: str, first: int) -> None:
    """Write a label file that has only the seen classes, numbered from 0.

    Pixels without a seen class become 255. No file is written if the image
    shows no seen class.

    Args:
        source (Path): Label file with all classes.
        output (Path): Label file to write.
        split (str): Name of the zero-shot split, such as ``'voc20-15-5'``.
            The vocabulary with the same name tells which classes are seen.
        first (int): Pixel value of label 0 in ``source``.

    Raises:
        InputError: If ``source`` is damaged or holds values that are not
            labels.
    """
    vocabulary = shipped_vocabulary(split)
    seen, total = vocabulary.seen, vocabulary.num_labels
    values = read_8_bit_labels(source)
    wrong = values[(values >= total + first) & (values != 255)]
    if wrong.size:
        raise InputError(
            f'{source} holds the values {np.unique(wrong).tolist()}; '
            f'expected 0 to {total + first - 1} or 255; give the folder of '
            f'the data set that the split {split} belongs to'
        )
    table = np.full(256, 255, dtype=np.uint8)
    table[np.asarray(seen) + first] = np.arange(len(seen))
    labels = table[values]
    if (labels != 255).any():
        write_label_map(output, labels, 256)
