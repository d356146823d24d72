# SPDX-License-Identifier: Apache-2.0
import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import write_label_map

from .base import (
    LabelCheck,
    Preparation,
    Task,
    label_table,
    raw_values,
    read_list,
    write_list,
)

NUM_LABELS = 59
LISTS = Path('ImageSets', 'SegmentationContext')
# Published evaluations have 5,104 validation images, the paper 5,105.
COUNTS = dict(train=(4996, 4998), val=(5104, 5105))


class PascalContext59(Preparation):
    """Writes label files of PASCAL-Context 59 from trainval_merged.json.

    Writes SegmentationClassContext/*.png (0 for background, 1 to 59 for the
    classes) and the lists ImageSets/SegmentationContext/{train,val}.txt.
    """

    title = 'PASCAL-Context 59'
    root = 'data/VOCdevkit/VOC2010'
    download = (
        'https://cs.stanford.edu/~roozbeh/pascal-context '
        '(trainval_merged.json) and http://host.robots.ox.ac.uk/pascal/VOC/'
        'voc2010 (JPEGImages)'
    )

    def tasks(self, root: Path, options: argparse.Namespace) -> list[Task]:
        """Return one task for each image, and one for each sample list."""
        path = root / 'trainval_merged.json'
        if not path.is_file():
            raise self.missing(path, 'the file of annotations')
        images, segments = _read_annotations(path)
        names = defaultdict(list)
        tasks = []
        for image in images:
            name = Path(image['file_name']).stem
            names[image['phase']].append(name)
            output = root / 'SegmentationClassContext' / f'{name}.png'
            size = image['height'], image['width']
            tasks.append(
                Task(
                    draw_segments,
                    (segments[image['image_id']], size, output),
                    (output,),
                )
            )
        for split in COUNTS:
            samples = root / LISTS / f'{split}.txt'
            tasks.append(
                Task(write_list, (samples, sorted(names[split])), (samples,))
            )
        return tasks

    def checks(
        self, root: Path, options: argparse.Namespace
    ) -> list[LabelCheck]:
        """Return one check of file count and label values for each split."""
        checks = []
        for split, counts in COUNTS.items():
            path = root / LISTS / f'{split}.txt'
            if not path.is_file():
                raise FileNotFoundError(
                    f'the sample list {path} is missing; run this command '
                    'without --verify first'
                )
            checks.append(
                LabelCheck(
                    folder=root / 'SegmentationClassContext',
                    suffix='.png',
                    counts=counts,
                    values=NUM_LABELS + 1,
                    ignored=None,
                    bits=8,
                    images=root / 'JPEGImages',
                    names=tuple(read_list(path)),
                )
            )
        return checks


def draw_segments(
    segments: list[tuple[int, Any]], size: tuple[int, int], output: Path
) -> None:
    """Write the label file of an image from its segments.

    Where segments overlap, the later segment is drawn over the earlier
    segment.

    Args:
        segments (list[tuple[int, Any]]): Category and run-length code of each
            segment.
        size (tuple[int, int]): Height and width of the image.
        output (Path): Label file to write.

    Raises:
        InputError: If a run-length code does not fit the image.
    """
    known = {value: rank for rank, value in enumerate(raw_values('pc59'), 1)}
    values = np.zeros(size, dtype=np.int64)
    for category, code in segments:
        try:
            values[decode_runs(code, size)] = category
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f'trainval_merged.json: a segment of {output.stem} cannot be '
                f'decoded ({error}); download the file again'
            ) from error
    write_label_map(output, label_table(known, 0, np.uint8)[values], 256)


def decode_runs(code: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Decode a mask in COCO's run-length code.

    The code lists the lengths of alternating runs of 0 and 1, column by
    column. In the compressed form, ``counts`` is a string of 6-bit
    characters. From the fourth length on, each length is stored as its
    difference from the length two places before.

    Args:
        code (dict): Run-length code, with the height and width of the mask in
            ``size``, and the lengths in ``counts`` (list or string).
        size (tuple[int, int]): Expected height H and width W.

    Returns:
        np.ndarray: Mask, (H, W) bool.

    Raises:
        InputError: If the code has another size than ``size``, or if the sum
            of its lengths is not H * W. The message gives only the cause;
            :func:`draw_segments` adds what the user can do.
    """
    runs = code['counts']
    if not isinstance(runs, list):
        runs = _parse_runs(runs if isinstance(runs, str) else runs.decode())
    if tuple(code['size']) != tuple(size) or sum(runs) != size[0] * size[1]:
        raise InputError(
            f'its run-length code has the size {code["size"]} and runs of '
            f'{sum(runs)} pixels in total, expected the size {list(size)} '
            '(height, width) of the image'
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(size[::-1]).T


def _parse_runs(text: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:  # more characters follow
            continue
        if bits & 0x10:  # negative
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs


def _read_annotations(
    path: Path,
) -> tuple[list[dict], dict[int, list[tuple[int, Any]]]]:
    """Return the training and validation images, and segments by image id."""
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
        images = [i for i in content['images'] if i['phase'] in COUNTS]
        segments = defaultdict(list)
        for segment in content['annos_segmentation']:
            segments[segment['image_id']].append(
                (segment['category_id'], segment['segmentation'])
            )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{path} is not a valid annotation file '
            f'({type(error).__name__}: {error}); download it again'
        ) from error
    return images, segments
