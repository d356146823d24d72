# SPDX-License-Identifier: Apache-2.0
import argparse
from pathlib import Path

import numpy as np

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import write_label_map

from .base import LabelCheck, Preparation, Task, read_list, write_list
from .pascal_context_59 import LISTS

NUM_LABELS = 459
COUNTS = (5104, 5105)
PRESENT = 345
LABELS = Path('annotations_detectron2', 'pc459_val')


class PascalContext459(Preparation):
    """Converts the .mat files of the validation images to 16-bit TIFFs.

    Reads trainval/*.mat, and the list of validation images: either
    ImageSets/SegmentationContext/val.txt, which the command of PASCAL-Context
    59 writes, or pascalcontext_val.txt. Writes
    annotations_detectron2/pc459_val/*.tif.
    """

    title = 'PASCAL-Context 459'
    root = 'data/VOCdevkit/VOC2010'
    download = (
        'https://www.roozbehm.info/pascal-context (trainval.tar.gz) and '
        'http://host.robots.ox.ac.uk/pascal/VOC/voc2010 (JPEGImages)'
    )

    def tasks(self, root: Path, options: argparse.Namespace) -> list[Task]:
        """Return a task for each validation image, and one for their list."""
        names = self._names(root)
        tasks = []
        for name in names:
            source = root / 'trainval' / f'{name}.mat'
            if not source.is_file():
                raise self.missing(source, 'the label file')
            output = root / LABELS / f'{name}.tif'
            tasks.append(Task(convert, (source, output), (output,)))
        samples = root / LISTS / 'val.txt'
        tasks.append(Task(write_list, (samples, names), (samples,)))
        return tasks

    def checks(
        self, root: Path, options: argparse.Namespace
    ) -> list[LabelCheck]:
        """Return one check of the label files.

        The check covers the number of files, the label values, and the number
        of labels that occur.
        """
        return [
            LabelCheck(
                folder=root / LABELS,
                suffix='.tif',
                counts=COUNTS,
                values=NUM_LABELS,
                ignored=65535,
                bits=16,
                images=root / 'JPEGImages',
                present=PRESENT,
                names=tuple(self._names(root)),
            )
        ]

    def _names(self, root: Path) -> list[str]:
        lists = root / LISTS / 'val.txt', root / 'pascalcontext_val.txt'
        for path in lists:
            if path.is_file():
                return read_list(path)
        raise FileNotFoundError(
            f'{self.title}: the list of validation images is missing, '
            f'expected {lists[0]} or {lists[1]}; write it with '
            'tools/dataset_converters/pascal_context_59.py, or download '
            'pascalcontext_val.txt from the folder datasets of '
            'https://github.com/cvlab-kaist/CAT-Seg'
        )


def convert(source: Path, output: Path) -> None:
    """Convert a ``.mat`` file to a label file.

    Args:
        source (Path): ``.mat`` file of the release.
        output (Path): Label file to write.

    Raises:
        InputError: If ``source`` is damaged or not a label file of
            PASCAL-Context.
    """
    from scipy.io import loadmat

    try:
        values = loadmat(str(source))['LabelMap']
    except Exception as error:  # SciPy raises many types
        raise InputError(
            f'{source} is not a label file of PASCAL-Context '
            f'({type(error).__name__}: {error}); download it again'
        ) from error
    if values.ndim != 2 or values.dtype != np.uint16:
        raise InputError(
            f'{source} holds an array of shape {values.shape} and dtype '
            f'{values.dtype}, expected (height, width) and uint16; download '
            'it again'
        )
    if values.max(initial=0) > NUM_LABELS:
        raise InputError(
            f'{source} holds the value {values.max()}; expected at most '
            f'{NUM_LABELS}; download the file again'
        )
    # 0 (no class) becomes 65535.
    write_label_map(output, values - np.uint16(1), 65536)
