# SPDX-License-Identifier: Apache-2.0
"""Data set of class crops: one sample for each class in each image."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import Compose
from mmengine.logging import print_log
from mmengine.utils import track_iter_progress
from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import write_text

from .transforms.class_crop import within_crops
from .transforms.loading import LoadOpenVocabAnnotations


@DATASETS.register_module()
class ClassCropDataset(Dataset):
    """Data set with one sample for each class in each image.

    The samples are made from a segmentation data set. An image that shows
    three classes gives three samples.

    Args:
        dataset (Mapping): Config of an :class:`OpenVocabDataset`, or of a
            ``ConcatDataset`` of such data sets with the same classes.
            Pipelines in this config are not used. With
            ``unseen_labels='ignore'``, unseen classes give no samples, and
            the seen classes are renumbered from 0.
        pipeline (Sequence[Mapping]): Transforms of a sample. The sample has
            two additional keys: ``crop_value``, the label of the class in
            ``gt_seg_map``, and ``crop_label``, the label of the class after
            the renumbering. If the pipeline returns None, another sample is
            chosen at random.
        samples_per_class (int, optional): Maximum number of samples for each
            class. From a class with more samples, this number of samples is
            chosen at random, with replacement. None: no maximum.
        seed (int): Random seed for ``samples_per_class``.
        index_file (str, optional): JSON file that lists the classes of each
            image. If it is missing, all label files are read and the file is
            written.
        test_mode (bool): Whether the data set is for tests. In tests, an
            error is raised if the pipeline returns None. Classes that occur
            only in the last row or column of an image give no sample in
            tests, because :class:`CropClass` cannot crop them.

    Raises:
        InputError: If no image shows a class, an image occurs twice, or the
            index file belongs to another data set.
    """

    def __init__(
        self,
        dataset: Mapping[str, Any],
        pipeline: Sequence[Mapping[str, Any]],
        samples_per_class: int | None = None,
        seed: int = 0,
        index_file: str | None = None,
        test_mode: bool = False,
    ) -> None:
        self.dataset = DATASETS.build(_without_pipeline(dataset))
        parts = getattr(self.dataset, 'datasets', [self.dataset])
        # Parts of a concatenation have the same classes.
        self._labels = parts[0]
        self.pipeline = Compose(list(pipeline))
        for part in parts:
            part.adapt(self.pipeline.transforms)
        self.samples_per_class = samples_per_class
        self.seed = seed
        self.index_file = None if index_file is None else Path(index_file)
        self.test_mode = test_mode
        self.samples = self._draw(self._index())
        if not self.samples:
            raise InputError(
                'no label file of the data set shows a class that can be '
                'cropped; check the vocabulary and the label files'
            )

    @property
    def metainfo(self) -> dict:
        """Meta information of the data set that the crops are cut from."""
        return self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        data = self._prepare(index)
        while data is None:
            if self.test_mode:
                raise RuntimeError(
                    f'the test pipeline returns None for sample {index}. An '
                    'index file from training lists classes that a test '
                    'cannot crop; set index_file of the test to another file '
                    f'than {self.index_file}'
                )
            data = self._prepare(np.random.randint(len(self)))
        return data

    def _prepare(self, index: int) -> Any:
        image, label = self.samples[index]
        info = self.dataset.get_data_info(image)
        value = self._values()[label]
        return self.pipeline(dict(info, crop_value=value, crop_label=label))

    def _values(self) -> Sequence[int]:
        """Return, for each class, its pixels' label in ``gt_seg_map``."""
        vocabulary = self._labels.vocabulary
        if self._labels.unseen_labels == 'ignore':
            return vocabulary.seen
        return range(vocabulary.num_labels)

    def _draw(self, index: list[list[int]]) -> list[tuple[int, int]]:
        """Return the samples: pairs of image index and class label."""
        images_of: dict[int, list[int]] = {}
        for image, values in enumerate(index):
            for value in values:
                images_of.setdefault(value, []).append(image)
        rng = np.random.default_rng(self.seed)
        samples = []
        for label, value in enumerate(self._values()):
            images = images_of.get(value, [])
            if self.samples_per_class and len(images) > self.samples_per_class:
                images = rng.choice(images, self.samples_per_class).tolist()
            samples += [(image, label) for image in images]
        return samples

    def _index(self) -> list[list[int]]:
        """Return, for each image, the labels of the classes that it shows."""
        infos = [
            self.dataset.get_data_info(i) for i in range(len(self.dataset))
        ]
        names = [info['sample_name'] for info in infos]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(
                f'the data set of class crops contains the image {twice} '
                'twice; remove one of the two entries'
            )
        if self.index_file is not None and self.index_file.is_file():
            index = json.loads(self.index_file.read_text())
            if sorted(index) != sorted(names):
                raise InputError(
                    f'{self.index_file} has {len(index)} images, expected the '
                    f'{len(names)} images of this data set; delete the file, '
                    'so that it is written again'
                )
            return [index[name] for name in names]
        print_log(f'reading the classes of {len(names)} images', 'current')
        load = LoadOpenVocabAnnotations()
        index = []
        for info in track_iter_progress(infos):
            labels = load(info)['gt_seg_map']
            if self.test_mode:  # training draws another sample instead
                labels = within_crops(labels)
            labels = np.unique(labels)
            keep = labels != self._labels.ignore_index
            index.append(labels[keep].tolist())
        if self.index_file is not None:
            write_text(self.index_file, json.dumps(dict(zip(names, index))))
        return index


def _without_pipeline(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a data set, with all pipelines empty."""
    if 'datasets' not in dataset:
        return {**dataset, 'pipeline': []}
    parts = [_without_pipeline(part) for part in dataset['datasets']]
    return {**dataset, 'datasets': parts}
