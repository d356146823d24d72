# SPDX-License-Identifier: Apache-2.0
import argparse
from pathlib import Path

import numpy as np

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import write_label_map

from .base import LabelCheck, Preparation, Task, label_table, read_8_bit_labels

SUFFIX = '_labelTrainIds.png'
NUM_LABELS = 171
COUNTS = dict(train2017=118287, val2017=5000)
# Values in 0 to 181 that have no class and do not occur in the downloaded
# stuff-thing maps.
UNUSED = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
# Temporary label of values without a class. It is never written to a file.
NO_CLASS = 254


class COCOStuff164k(Preparation):
    """Writes label files: 0 to 170 for the 171 classes of COCO-Stuff.

    Reads the stuff-thing maps annotations/SPLIT/*.png as downloaded. Writes
    annotations/SPLIT/*_labelTrainIds.png.
    """

    title = 'COCO-Stuff 164k'
    root = 'data/coco_stuff164k'
    download = 'https://github.com/nightrome/cocostuff'

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the option ``--splits``."""
        parser.add_argument(
            '--splits',
            nargs='+',
            choices=list(COUNTS),
            default=list(COUNTS),
            help='parts of the data set to prepare (default: both parts)',
        )

    def tasks(self, root: Path, options: argparse.Namespace) -> list[Task]:
        """Return one task for each downloaded stuff-thing map."""
        tasks = []
        for split in options.splits:
            folder = root / 'annotations' / split
            raw = raw_maps(folder)
            if not raw:
                raise self.missing(
                    folder, 'the folder with the stuff-thing maps (*.png)'
                )
            for path in raw:
                output = path.with_name(f'{path.stem}{SUFFIX}')
                tasks.append(Task(renumber, (path, output), (output,)))
        return tasks

    def checks(
        self, root: Path, options: argparse.Namespace
    ) -> list[LabelCheck]:
        """Return one check of file count and label values for each split."""
        return [
            LabelCheck(
                folder=root / 'annotations' / split,
                suffix=SUFFIX,
                counts=(COUNTS[split],),
                values=NUM_LABELS,
                ignored=255,
                bits=8,
                images=root / 'images' / split,
            )
            for split in options.splits
        ]


def raw_maps(folder: Path) -> list[Path]:
    """Return the paths of the downloaded stuff-thing maps in a folder.

    Label files that were made from the maps are left out.
    """
    return sorted(
        path
        for path in folder.glob('*.png')
        if not path.name.endswith('TrainIds.png')
    )


def renumber(raw: Path, output: Path) -> None:
    """Write the label file of an image from its stuff-thing map.

    Args:
        raw (Path): Stuff-thing map as downloaded from COCO-Stuff.
        output (Path): Label file to write.

    Raises:
        InputError: If ``raw`` holds a value that belongs to no class.
    """
    values = read_8_bit_labels(raw)
    labels = _table()[values]
    if (labels == NO_CLASS).any():
        wrong = np.unique(values[labels == NO_CLASS]).tolist()
        raise InputError(
            f'{raw} holds the values {wrong}, which no COCO-Stuff class has; '
            'download the stuff-thing maps of COCO-Stuff again'
        )
    write_label_map(output, labels, 256)


def _table() -> np.ndarray:
    used = [value for value in range(182) if value not in UNUSED]
    mapping = {value: label for label, value in enumerate(used)}
    return label_table({**mapping, 255: 255}, NO_CLASS, np.uint8)
