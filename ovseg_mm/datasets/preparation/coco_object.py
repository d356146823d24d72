# SPDX-License-Identifier: Apache-2.0
import argparse
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import write_label_map

from .base import LabelCheck, Preparation, Task, label_table, read_8_bit_labels
from .coco_stuff164k import COUNTS, NO_CLASS, UNUSED, raw_maps

SUFFIX = '_instanceTrainIds.png'
# Values of the objects in the downloaded stuff-thing maps: the category ids of
# COCO minus 1.
OBJECTS = tuple(value for value in range(91) if value not in UNUSED)
SOURCES = ('maps', 'instances')


class COCOObject(Preparation):
    """Writes label files: 1 to 80 for the 80 objects of COCO, 0 elsewhere.

    Reads the stuff-thing maps annotations/SPLIT/*.png as downloaded from
    COCO-Stuff; published results use these maps. With --source instances,
    reads annotations/instances_SPLIT.json of COCO instead, which needs
    pycocotools. Writes annotations/SPLIT/*_instanceTrainIds.png.
    """

    title = 'COCO-Object'
    root = 'data/coco_stuff164k'
    download = (
        'https://github.com/nightrome/cocostuff, https://cocodataset.org'
    )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options ``--splits`` and ``--source``."""
        parser.add_argument(
            '--splits',
            nargs='+',
            choices=list(COUNTS),
            default=['val2017'],
            help='parts of the data set to prepare (default: val2017)',
        )
        parser.add_argument(
            '--source',
            choices=SOURCES,
            default=SOURCES[0],
            help='what to make the labels from: the stuff-thing maps of '
            'COCO-Stuff or the instances of COCO (default: %(default)s)',
        )

    def tasks(self, root: Path, options: argparse.Namespace) -> list[Task]:
        """Return one task for each label file to write."""
        make = _from_maps if options.source == 'maps' else _from_instances
        return [
            task
            for split in options.splits
            for task in make(self, root / 'annotations', split)
        ]

    def checks(
        self, root: Path, options: argparse.Namespace
    ) -> list[LabelCheck]:
        """Return one check of file count and label values for each split."""
        return [
            LabelCheck(
                folder=root / 'annotations' / split,
                suffix=SUFFIX,
                counts=(COUNTS[split],),
                values=len(OBJECTS) + 1,
                ignored=None,
                bits=8,
                images=root / 'images' / split,
            )
            for split in options.splits
        ]


def _from_maps(
    preparation: Preparation, folder: Path, split: str
) -> list[Task]:
    raw = raw_maps(folder / split)
    if not raw:
        raise preparation.missing(
            folder / split, 'the folder with the stuff-thing maps (*.png)'
        )
    outputs = [path.with_name(f'{path.stem}{SUFFIX}') for path in raw]
    return [
        Task(keep_objects, (path, output), (output,))
        for path, output in zip(raw, outputs)
    ]


def _from_instances(
    preparation: Preparation, folder: Path, split: str
) -> list[Task]:
    path = folder / f'instances_{split}.json'
    if not path.is_file():
        raise preparation.missing(path, 'the instance annotation file')
    if find_spec('pycocotools') is None:
        raise InputError(
            f'{path} can only be read with pycocotools, which is not '
            'installed; run `pip install pycocotools`, or use the stuff-thing '
            'maps (--source maps)'
        )
    try:
        content = json.loads(path.read_text())
        shapes: dict[int, list[dict]] = {
            image['id']: [] for image in content['images']
        }
        for shape in content['annotations']:
            shapes[shape['image_id']].append(shape)
        tasks = []
        for image in content['images']:
            output = (
                folder / split / f'{Path(image["file_name"]).stem}{SUFFIX}'
            )
            size = image['height'], image['width']
            args = shapes[image['id']], size, output
            tasks.append(Task(draw_objects, args, (output,)))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{path} is not a file of COCO instances ({error!r}); download it '
            'again'
        ) from error
    return tasks


def keep_objects(raw: Path, output: Path) -> None:
    """Write the label file of an image from its stuff-thing map.

    Args:
        raw (Path): Stuff-thing map as downloaded from COCO-Stuff.
        output (Path): Label file to write.

    Raises:
        InputError: If ``raw`` holds a value that belongs to no class.
    """
    values = read_8_bit_labels(raw)
    mapping = {value: 0 for value in (*range(182), 255)}
    mapping.update({value: i + 1 for i, value in enumerate(OBJECTS)})
    for value in UNUSED:
        del mapping[value]
    labels = label_table(mapping, NO_CLASS, np.uint8)[values]
    if (labels == NO_CLASS).any():
        wrong = np.unique(values[labels == NO_CLASS]).tolist()
        raise InputError(
            f'{raw} holds the values {wrong}, which no COCO-Stuff class has; '
            'download the stuff-thing maps of COCO-Stuff again'
        )
    write_label_map(output, labels, 256)


def draw_objects(
    shapes: list[dict[str, Any]], size: tuple[int, int], output: Path
) -> None:
    """Write the label file of an image from its COCO instances.

    Where instances overlap, the smaller instance is drawn over the larger
    instance.

    Args:
        shapes (list[dict]): Annotations of the image, with ``category_id``
            and ``segmentation`` (polygons or a run-length code).
        size (tuple[int, int]): Height and width of the image.
        output (Path): Label file to write.

    Raises:
        InputError: If a category is not one of the 80 objects.
    """
    from pycocotools import mask as coco_mask

    labels = np.zeros(size, np.uint8)
    drawn = []
    for shape in shapes:
        code = shape['segmentation']
        if isinstance(code, list):
            code = coco_mask.merge(coco_mask.frPyObjects(code, *size))
        elif isinstance(code['counts'], list):
            code = coco_mask.frPyObjects(code, *size)
        value = shape['category_id'] - 1
        if value not in OBJECTS:
            raise InputError(
                f'{output}: category_id={shape["category_id"]} is not one of '
                'the 80 categories of COCO (1 to 90 with gaps); download the '
                'annotations again'
            )
        drawn.append((coco_mask.decode(code) > 0, OBJECTS.index(value) + 1))
    for mask, label in sorted(drawn, key=lambda item: -item[0].sum()):
        labels[mask] = label
    write_label_map(output, labels, 256)
