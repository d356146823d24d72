# SPDX-License-Identifier: Apache-2.0
"""Check of the values in some label files before a run starts."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.logging import print_log

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import (
    image_size,
    read_label_map,
    swaps_sides,
)

from .transforms.loading import (
    check_label_values,
    compare_sizes,
    map_label_values,
)

# Number of label files that are always read, and the maximum number that is
# read if their values look wrong.
_FEW = 16
_MANY = 200
_MASKS = (
    'If they are masks in which the foreground is 255, give a class for the '
    "background and one for the foreground, such as ['background', 'crack'], "
    'and set label_map={255: 1} and reduce_zero_label=False of the data set. '
)


class LabelSample:
    """Check of the values in some label files of a data set.

    Args:
        samples (Sequence[dict]): Some samples of the data set, with
            ``img_path``, ``seg_map_path`` and the optional keys of
            :class:`LoadOpenVocabAnnotations`. At first, only a few of their
            label files are read. More label files are read only if the
            values look wrong.
        exif_applied (bool, optional): Whether images are turned by their EXIF
            orientation. None: unknown; the sizes of images and label maps
            are then not compared.
        given_ignore_index (bool): Whether the user has set ``ignore_index``.
        backend_args (dict, optional): Options of MMEngine's file backend.
    """

    def __init__(
        self,
        samples: Sequence[dict],
        exif_applied: bool | None,
        given_ignore_index: bool,
        backend_args: dict | None = None,
    ) -> None:
        self.samples = [s for s in samples if s.get('seg_map_path')]
        self.exif_applied = exif_applied
        self.given_ignore_index = given_ignore_index
        self.backend_args = backend_args
        self.values: set[int] = set()
        self.labels: set[int] = set()
        self.read: set[str] = set()
        self.deep = False

    def check(self) -> None:
        """Read label files and check their values.

        Values that are valid but look wrong give a warning.

        Raises:
            FileNotFoundError: If a label file is missing.
            InputError: If a file is not a label map, differs in size from
                its image or holds values that are not labels. Also if all
                pixels are ignored. Also if the files of a data set with two
                classes hold only the values 0 and 255, and the user has not
                set ``ignore_index``: 255 would be ignored, and only label 0
                would be left.
        """
        if not self.samples:
            return
        for index in spread(len(self.samples), _FEW):
            self._read(self.samples[index], with_image=True)
        if not self._doubts():
            return
        # Rare labels may be in other files.
        for sample in self.samples:
            if sample['seg_map_path'] not in self.read:
                self._read(sample, with_image=False)
                if not self._doubts():
                    return
        text, fatal = self._doubts()[0]
        if fatal:
            raise InputError(text)
        print_log(text, 'current', logging.WARNING)

    def _read(self, sample: dict, with_image: bool) -> None:
        path, ignored = sample['seg_map_path'], sample['ignore_index']
        values = read_label_map(path, self.backend_args)
        if with_image and self.exif_applied is not None:
            self._compare(sample, values.shape, self.exif_applied)
        found = np.unique(values)
        labels = map_label_values(
            found,
            ignored,
            sample['reduce_zero_label'],
            sample['label_map'],
        )
        check_label_values(labels, sample['num_labels'], ignored, path)
        self.values.update(found.tolist())
        self.labels.update(labels.tolist())
        self.read.add(path)
        self.deep |= values.dtype != np.uint8

    def _compare(
        self, sample: dict, shape: tuple[int, int], applied: bool
    ) -> None:
        image = sample['img_path']
        try:
            size, orientation = image_size(image, self.backend_args)
        except Exception:  # Pillow raises many types for a damaged image
            return  # the pipeline reports it
        if applied and swaps_sides(orientation):
            size = size[::-1]
        compare_sizes(
            image,
            sample['seg_map_path'],
            size,
            shape,
            orientation,
            applied,
        )

    def _doubts(self) -> list[tuple[str, bool]]:
        """Describe values that look wrong.

        Returns:
            list[tuple[str, bool]]: Messages; True marks an error, False a
            warning. Empty if no value looks wrong.
        """
        sample = self.samples[0]
        size, ignored = sample['num_labels'], sample['ignore_index']
        reduced = sample['reduce_zero_label']
        where = f'{len(self.read)} label files that were read'
        where += f' (the first is {sample["seg_map_path"]})'
        masks = self.values == {0, 255} and ignored == 255
        advice = _MASKS if masks else ''
        if self.labels == {ignored}:
            listed = ', '.join(map(str, sorted(self.values)[:8]))
            text = (
                f'all pixels of the {where} are ignored: the files hold the '
                f'values {listed}, ignore_index is {ignored} and '
                f'reduce_zero_label is {reduced}. {advice}To predict without '
                'labels, remove seg_map_path from data_prefix'
            )
            return [(text, True)]
        if masks and self.labels == {0, 255} and not self.given_ignore_index:
            text = (
                f'the {where} hold only the values 0 and 255, and 255 is '
                f'ignored: only label 0 of {size} is left. {advice}If 255 '
                'does mean ignored pixels, set ignore_index=255 of the data '
                'set'
            )
            return [(text, size == 2)]
        if reduced and self.values - {ignored} == set(range(size)):
            text = (
                f'the {where} hold the values 0 to {size - 1} and never '
                f'{size}. With reduce_zero_label=True, the value 0 is '
                f'ignored, and the values 1 to {size} are the labels. If 0 is '
                'the first label, set reduce_zero_label=False'
            )
            return [(text, False)]
        if ignored > 255 and 255 in self.labels and not self.deep:
            text = (
                f'the {where} have 8 bits per pixel and hold the value 255. '
                f'This value is one of the {size} labels; the value {ignored} '
                'is ignored. If 255 means ignored pixels, set label_map={255: '
                f'{ignored}}} of the data set'
            )
            return [(text, False)]
        return []


def spread(total: int, count: int = _MANY) -> Iterator[int]:
    """Yield at most ``count`` indices below ``total``, evenly spread."""
    if total <= count:
        yield from range(total)
    else:
        yield from np.linspace(0, total - 1, count).astype(int).tolist()
