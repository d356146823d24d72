# SPDX-License-Identifier: Apache-2.0
"""Matching of the images and label files of a data set."""

import logging
import os
import os.path as osp
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mmengine.logging import print_log

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.picture_files import IMAGE_SUFFIXES

from .file_index import FileIndex


class SampleFiles(NamedTuple):
    """Files of one sample.

    Attributes:
        image (str): Path of the image.
        labels (str, optional): Path of the label file; None if the data set
            has no labels.
        name (str): Unique name of the output files for this sample, without
            suffix.
    """

    image: str
    labels: str | None
    name: str


class SampleFinder:
    """Finder of the images of a data set and of their label files.

    Args:
        image_folder (str): Folder of the images.
        label_folder (str, optional): Folder of the label files. None: the
            data set has no labels.
        img_suffix (str | Sequence[str], optional): Suffixes of image files.
            None: any suffix of
            :data:`~ovseg_mm.utils.picture_files.IMAGE_SUFFIXES`.
        seg_map_suffix (str): Suffix of label files.
        backend_args (dict, optional): Options of MMEngine's file backend.
    """

    def __init__(
        self,
        image_folder: str,
        label_folder: str | None,
        img_suffix: str | Sequence[str] | None,
        seg_map_suffix: str,
        backend_args: dict | None = None,
    ) -> None:
        self.image_folder, self.label_folder = image_folder, label_folder
        if isinstance(img_suffix, str):
            img_suffix = (img_suffix,)
        self.any_image = img_suffix is None
        self.img_suffixes = tuple(img_suffix or IMAGE_SUFFIXES)
        self.seg_map_suffix = seg_map_suffix
        self.backend_args = backend_args

    def all(self) -> list[SampleFiles]:
        """Find the files of all samples in the folders and their subfolders.

        Returns:
            list[SampleFiles]: Files of each sample, sorted by image path.

        Raises:
            FileNotFoundError: If there is no image, an image has no label
                file, a label file has no image, or a file is a broken link.
            InputError: If several images, or several label files, differ only
                in the suffix.
        """
        labels = self._index_labels(None)
        leave_out = []
        if labels is not None:
            # Label files may be beside the images, or in a subfolder.
            leave_out = labels.paths()
            if osp.normpath(labels.folder) != osp.normpath(self.image_folder):
                leave_out.append(labels.folder)
        images = FileIndex(
            self.image_folder,
            self.img_suffixes,
            self.backend_args,
            leave_out=leave_out,
        )
        if not images.files:
            raise FileNotFoundError(self._why_empty(images))
        self._mention_others(images)
        if labels is None:
            paths = images.paths()
            stems = [images.stem_of_path(path) for path in paths]
            return self._samples(images, None, paths, stems)
        stems = sorted(images.files, key=lambda stem: images.files[stem][0])
        paths = [self._only(images.files[stem], stem) for stem in stems]
        alone = [
            path
            for stem, found in labels.files.items()
            if stem not in images.files
            for path in found
        ]
        samples = self._samples(images, labels, paths, stems)
        if alone:
            raise FileNotFoundError(
                f'{len(alone)} label files have no image in '
                f'{self.image_folder}, the first is {min(alone)}; add the '
                'missing images, or set ann_file to a file that lists only '
                'the samples to use'
            )
        return samples

    def listed(self, names: Sequence[str]) -> list[SampleFiles]:
        """Find the files of the samples in a list.

        Args:
            names (Sequence[str]): Path of each sample relative to the image
                and label folders, with or without the suffix of the image or
                label file.

        Returns:
            list[SampleFiles]: Files of each sample, in the order of the list.

        Raises:
            FileNotFoundError: If a file is missing or is a broken link.
            InputError: If several images, or several label files, fit one
                name.
        """
        names = [name.replace('\\', '/') for name in names]
        images = FileIndex(
            self.image_folder, self.img_suffixes, self.backend_args, names
        )
        labels = self._index_labels(names)
        paths, stems, missing = [], [], []
        for name in names:
            found = images.find(name)
            if not found and labels is not None:
                # Some lists have the names of label files.
                found = images.find(labels.stem_of(name) or name)
            if found:
                path = self._only(found, name)
                paths.append(path)
                stems.append(images.stem_of_path(path))
            else:
                missing.append(osp.join(self.image_folder, name))
        if missing:
            raise self._missing(missing, self._suffix_text())
        return self._samples(images, labels, paths, stems)

    def _index_labels(self, stems: Sequence[str] | None) -> FileIndex | None:
        if self.label_folder is None:
            return None
        suffixes = (self.seg_map_suffix,)
        return FileIndex(self.label_folder, suffixes, self.backend_args, stems)

    def _samples(
        self,
        images: FileIndex,
        labels: FileIndex | None,
        paths: list[str],
        stems: list[str],
    ) -> list[SampleFiles]:
        """Return the files of each sample: an image and its label file."""
        names = unique_names(paths, stems)
        if labels is None:
            _refuse_broken(images.broken, paths)
            return [
                SampleFiles(path, None, name)
                for path, name in zip(paths, names, strict=True)
            ]
        missing = [
            osp.join(labels.folder, stem + self.seg_map_suffix)
            for stem in stems
            if stem not in labels.files
        ]
        if missing:
            raise self._missing(missing)
        label_files = [self._only(labels.files[stem], stem) for stem in stems]
        _refuse_broken(images.broken, paths)
        _refuse_broken(labels.broken, label_files)
        return [
            SampleFiles(*files)
            for files in zip(paths, label_files, names, strict=True)
        ]

    def _only(self, found: list[str], name: str) -> str:
        if len(found) > 1:
            raise InputError(
                f'{found[0]} and {found[1]} both fit {name!r}; remove one of '
                'them, set img_suffix, or set ann_file to a file that lists '
                'the images with their suffixes'
            )
        return found[0]

    def _missing(
        self, paths: list[str], suffix_text: str = ''
    ) -> FileNotFoundError:
        others = len(paths) - 1
        return FileNotFoundError(
            f'the file {paths[0]}{suffix_text} of the data set'
            + (f' (and {others} other files)' if others else '')
            + ' does not exist; add the missing files, or check data_prefix, '
            'img_suffix and seg_map_suffix, or remove seg_map_path from '
            'data_prefix if there are no labels'
        )

    def _suffix_text(self) -> str:
        if len(self.img_suffixes) == 1:
            return self.img_suffixes[0]
        return f' ({", ".join(self.img_suffixes)})'

    def _why_empty(self, images: FileIndex) -> str:
        kinds = Counter(osp.splitext(path)[1] for path in images.others)
        found = ', '.join(f'{n} {kind}' for kind, n in kinds.most_common(3))
        wanted = ', '.join(map(repr, self.img_suffixes))
        return (
            f'no file in {self.image_folder} ends in {wanted} (found: '
            f'{found or "nothing"}); check the folder, or set img_suffix to '
            'the suffix of the images'
        )

    def _mention_others(self, images: FileIndex) -> None:
        """Warn if there are images with other suffixes than ``img_suffix``."""
        left_out = [
            path
            for path in images.others
            if path.lower().endswith(IMAGE_SUFFIXES)
        ]
        if left_out and not self.any_image:
            print_log(
                f'{len(left_out)} images in {self.image_folder} do not end '
                f'in {", ".join(self.img_suffixes)} and are left out, the '
                f'first is {left_out[0]}; to use all images, set '
                'img_suffix=None',
                'current',
                logging.WARNING,
            )


def unique_names(paths: Sequence[str], stems: Sequence[str]) -> list[str]:
    """Return unique names for the output files of samples.

    Args:
        paths (Sequence[str]): Path of each image.
        stems (Sequence[str]): Path of each image below the image folder,
            without suffix.

    Returns:
        list[str]: Name of each image: the stem with ``'__'`` instead of
        ``'/'``. If another image already has this name, ``'-2'``, ``'-3'``,
        ... is added.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for path, stem in zip(paths, stems):
        if path in names:
            continue
        plain = name = stem.replace('/', '__')
        number = 2
        while name in taken:
            name, number = f'{plain}-{number}', number + 1
        taken.add(name)
        names[path] = name
    return [names[path] for path in paths]


def _refuse_broken(broken: set[str], paths: Iterable[str]) -> None:
    wrong = sorted(broken.intersection(paths))
    if wrong:
        raise FileNotFoundError(
            f'{len(wrong)} files of the data set are broken links, the first '
            f'is {wrong[0]} (to {os.readlink(wrong[0])}); repair or remove '
            'them'
        )
