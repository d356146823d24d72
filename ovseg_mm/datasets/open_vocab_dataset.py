# SPDX-License-Identifier: Apache-2.0
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine import fileio
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from torch import Tensor

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import read_image, reason_of
from ovseg_mm.vocabulary import (
    UNKNOWN,
    Vocabulary,
    check_same_classes,
    load_vocabulary,
)

from .file_index import read_names
from .label_samples import LabelSample, spread
from .sample_files import SampleFinder
from .transforms.images import inner_transforms, share_image_rule
from .transforms.loading import LoadOpenVocabAnnotations


@DATASETS.register_module()
class OpenVocabDataset(BaseSegDataset):
    """Data set of images and label files, with a vocabulary as its classes.

    Folders and arguments are as in :class:`mmseg.datasets.BaseSegDataset`.
    Label files are optional.

    Args:
        vocabulary (Vocabulary | str | Sequence[str] | Mapping): Classes of
            the data set, in any form that
            :func:`ovseg_mm.vocabulary.load_vocabulary` accepts. The labels 0,
            1, ... of the vocabulary are the values in the label files.
        data_prefix (Mapping[str, str | None]): Folders relative to
            ``data_root``: images under the key ``img_path`` and, optionally,
            label files under ``seg_map_path``.
        ignore_index (int, optional): Value of ignored pixels. None: 255, or
            65535 if the vocabulary has more than 255 labels.
        label_map (Mapping[int, int], optional): Label for each value in the
            label files, if labels and values differ. Values without an entry
            are not changed. Applied after ``reduce_zero_label``.
        unseen_labels (str): Change of the pixels with an unseen label, after
            the pipeline:

            - ``'keep'``: they are not changed, as needed in tests;
            - ``'ignore'``: they become ``ignore_index``, and the seen labels
              are renumbered from 0, in their order. The data set then has
              only the class names of the seen labels;
            - ``'mark'``: they become :data:`~ovseg_mm.vocabulary.UNKNOWN`
              (-1). Such pixels belong to some unseen class, unlike ignored
              pixels. The seen labels are not changed.
        exif_orientation (str, optional): How to read images with an EXIF
            orientation. ``'apply'``: turned by this orientation.
            ``'ignore'``: as stored, for labels drawn on the stored pixels.
            None: as ``color_type`` of ``LoadImageFromFile`` says (default:
            turned), with a warning if the labels might not fit the image.
        img_suffix (str | Sequence[str], optional): Suffix or suffixes of
            image files, in upper or lower case. None: any suffix of
            :data:`~ovseg_mm.utils.picture_files.IMAGE_SUFFIXES`.
        metainfo (Mapping, optional): Optional keys: ``palette``, the colours
            if the vocabulary has no colours (default: the palette of the
            class attribute ``METAINFO``); ``classes``, the class names, which
            must agree with the vocabulary.
        **kwargs: Other arguments of :class:`mmseg.datasets.BaseSegDataset`.
            Names in ``ann_file`` may end in the suffix of the image.

    Raises:
        FileNotFoundError: If a folder or file is missing or is a broken link.
        InputError: If two images fit one label file. If ``unseen_labels`` has
            none of the values above, or is ``'ignore'`` or ``'mark'``
            although the vocabulary has no unseen labels.
    """

    METAINFO: dict

    def __init__(
        self,
        vocabulary: Vocabulary | str | Sequence[str] | Mapping[str, Any],
        data_prefix: Mapping[str, str | None],
        ignore_index: int | None = None,
        label_map: Mapping[int, int] | None = None,
        unseen_labels: str = 'keep',
        exif_orientation: str | None = None,
        img_suffix: str | Sequence[str] | None = None,
        metainfo: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        metainfo = dict(metainfo or {})
        self.vocabulary = self._coloured(load_vocabulary(vocabulary), metainfo)
        self._check_unseen(unseen_labels)
        if exif_orientation not in (None, 'apply', 'ignore'):
            raise InputError(
                f'exif_orientation={exif_orientation!r} must be '
                "'apply', 'ignore' or None"
            )
        self.exif_orientation = exif_orientation
        self.unseen_labels = unseen_labels
        self.value_map = _checked_label_map(label_map or {})
        self._given_ignore_index = ignore_index is not None
        if ignore_index is None:
            ignore_index = self.vocabulary.ignore_label
        named = self.vocabulary
        if unseen_labels == 'ignore':
            named = named.only('seen')
        folders = {k: v for k, v in data_prefix.items() if v is not None}
        super().__init__(
            metainfo={**metainfo, **named.metainfo},
            data_prefix=folders,
            ignore_index=ignore_index,
            img_suffix=img_suffix,
            **kwargs,
        )
        # MMSegmentation's scripts read the class names here.
        self.METAINFO = {**type(self).METAINFO, **self.metainfo}

    def _coloured(self, vocabulary: Vocabulary, metainfo: dict) -> Vocabulary:
        """Set the colours of a vocabulary that has only default colours.

        They come from ``metainfo`` or, if it has none, from ``METAINFO``.
        """
        if metainfo.get('classes') is not None:
            check_same_classes(vocabulary, metainfo['classes'], 'metainfo')
        palette = metainfo.get('palette')
        if palette is None:
            palette = self.METAINFO.get('palette') or ()
            if len(palette) != vocabulary.num_labels:
                return vocabulary
        return vocabulary.coloured(palette)

    def adapt(self, transforms: list) -> None:
        """Adapt the transforms of a pipeline to this data set, in place.

        :class:`LoadOpenVocabImage` replaces other transforms that read
        images. Transforms that pad label maps are set to pad with
        ``ignore_index``.

        Args:
            transforms (list): Transforms of the pipeline.
        """
        self.exif_applied = share_image_rule(transforms, self.exif_orientation)
        _pad_labels_with(self.ignore_index, transforms)

    def full_init(self) -> None:
        """List the samples, adapt the transforms and check some label files.

        Raises:
            InputError: If a label file holds values that are not labels.
        """
        if self._fully_initialized:
            return
        transforms = self.pipeline.transforms
        self.adapt(transforms)
        super().full_init()
        # Other transforms may read label files of another format.
        if _has_step(transforms, LoadOpenVocabAnnotations):
            LabelSample(
                [self.get_data_info(i) for i in spread(len(self))],
                self.exif_applied,
                self._given_ignore_index,
                self.backend_args,
            ).check()

    def load_data_list(self) -> list[dict]:
        """List the samples.

        Returns:
            list[dict]: Samples in the order of ``ann_file``; without
            ``ann_file``, sorted by image path. The keys are ``img_path``,
            ``sample_name``, ``seg_map_path`` (if there are label files) and
            the optional keys of
            :class:`~ovseg_mm.datasets.LoadOpenVocabAnnotations`.

        Raises:
            FileNotFoundError: If a folder or file is missing, or the file
                ``ann_file`` lists no samples.
            InputError: If ``data_prefix`` has no folder of images.
        """
        image_folder = self.data_prefix.get('img_path')
        if not image_folder:
            raise InputError(
                'data_prefix has no folder of images; set '
                'data_prefix=dict(img_path=...)'
            )
        label_folder = self.data_prefix.get('seg_map_path')
        self._check_folder(image_folder, 'images')
        if label_folder is not None:
            self._check_folder(label_folder, 'labels')
        finder = SampleFinder(
            image_folder,
            label_folder,
            self.img_suffix,
            self.seg_map_suffix,
            self.backend_args,
        )
        if self.ann_file:
            names = read_names(self.ann_file, self.backend_args)
            if not names:
                raise FileNotFoundError(
                    f'the list of samples {self.ann_file} is empty; write '
                    'one image name per line, or remove ann_file'
                )
            found = finder.listed(names)
        else:
            found = finder.all()
        return [self._sample(*files) for files in found]

    def _sample(self, image: str, labels: str | None, name: str) -> dict:
        sample = dict(
            img_path=image,
            label_map=self.value_map,
            reduce_zero_label=self.reduce_zero_label,
            seg_fields=[],
            sample_name=name,
            ignore_index=self.ignore_index,
            num_labels=self.vocabulary.num_labels,
            exif_chosen=self.exif_orientation is not None,
        )
        if labels is not None:
            sample['seg_map_path'] = labels
        return sample

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on a sample and add its meta information.

        Args:
            idx (int): Index of the sample.

        Returns:
            Any: Output of the pipeline, with unseen labels changed as
            ``unseen_labels`` says. Packed samples get this meta information:

            - ``sample_name``: path of the image below its folder, without
              suffix, with ``'__'`` instead of ``'/'``;
            - ``label_map``: argument of the data set;
            - ``exif_applied``: whether the image was turned by its EXIF
              orientation;
            - ``num_labels``: number of classes of the data set.

        Raises:
            InputError: If the image or the label file is damaged, or a label
                is not in the vocabulary.
            RuntimeError: If the pipeline fails on a valid image; the message
                names the image.
        """
        sample = self.get_data_info(idx)
        path, name = sample['img_path'], sample['sample_name']
        if self.unseen_labels != 'keep':
            sample['seen_labels'] = self.vocabulary.seen
        try:
            data = self.pipeline(sample)
        except Exception as error:
            # Errors of decoders do not name the damaged image.
            named = (path, sample.get('seg_map_path', path))
            if isinstance(error, (ValueError, FileNotFoundError)) and any(
                name in str(error) for name in named
            ):
                raise
            # Raises if the image is damaged; else the pipeline is at fault.
            read_image(path, backend_args=self.backend_args)
            raise RuntimeError(
                f'the pipeline fails on the image {path} ({reason_of(error)})'
            ) from error
        if data is None:
            return None
        if 'data_samples' not in data:
            return self._hide_unpacked(data)
        packed = data['data_samples']
        for item in packed if isinstance(packed, list) else [packed]:
            item.set_metainfo(
                dict(
                    sample_name=name,
                    label_map=self.value_map,
                    exif_applied=self.exif_applied is not False,
                    num_labels=len(self.metainfo['classes']),
                )
            )
            if self.unseen_labels != 'keep' and 'gt_sem_seg' in item:
                item.gt_sem_seg.data = self._hide(item.gt_sem_seg.data)
        return data

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the labels that occur in the label file of a sample.

        ``ClassBalancedDataset`` needs them to repeat images of rare classes.

        Args:
            idx (int): Index of the sample.

        Returns:
            list[int]: Labels without ``ignore_index``. Unseen labels are
            included only with ``unseen_labels='keep'``. With ``'ignore'``,
            the seen labels are renumbered. Empty if there is no label file.
        """
        info = self.get_data_info(idx)
        if info.get('seg_map_path') is None:
            return []
        load = LoadOpenVocabAnnotations(backend_args=self.backend_args)
        labels = np.unique(load(info)['gt_seg_map']).astype(np.int64)
        if self.unseen_labels != 'keep':
            labels = np.unique(self._hide(torch.from_numpy(labels)).numpy())
        no_label = (self.ignore_index, UNKNOWN)
        return [label for label in labels.tolist() if label not in no_label]

    def _hide_unpacked(self, data: dict) -> dict:
        """Change unseen labels in ``gt_seg_map`` of a sample not packed yet.

        ``MultiImageMixDataset`` mixes such samples and packs them afterwards.
        """
        if self.unseen_labels == 'keep' or 'gt_seg_map' not in data:
            return data
        labels = data['gt_seg_map']
        hidden = self._hide(torch.from_numpy(labels.astype(np.int64))).numpy()
        if self.unseen_labels == 'ignore':
            data['num_labels'] = len(self.vocabulary.seen)
            data['seen_labels'] = tuple(range(data['num_labels']))
            data['gt_seg_map'] = hidden.astype(labels.dtype)
        else:  # UNKNOWN is negative
            data['gt_seg_map'] = hidden.astype(np.int32)
        return data

    def _check_unseen(self, unseen_labels: str) -> None:
        if unseen_labels not in ('keep', 'ignore', 'mark'):
            raise InputError(
                f'unseen_labels={unseen_labels!r} must be '
                "'keep', 'ignore' or 'mark'"
            )
        if unseen_labels != 'keep' and not self.vocabulary.unseen:
            raise InputError(
                f'unseen_labels={unseen_labels!r} needs a vocabulary with '
                f'unseen labels, but {self.vocabulary.source} has none; list '
                "them under its key 'unseen', or set unseen_labels='keep'"
            )

    def _hide(self, labels: Tensor) -> Tensor:
        """Replace the unseen labels in a label map, int64 of any shape.

        ``unseen_labels`` says by what: ``ignore_index`` or ``UNKNOWN``.
        """
        vocabulary = self.vocabulary
        table = torch.arange(max(vocabulary.num_labels, self.ignore_index) + 1)
        if self.unseen_labels == 'ignore':
            table[list(vocabulary.unseen)] = self.ignore_index
            table[list(vocabulary.seen)] = torch.arange(len(vocabulary.seen))
        else:
            table[list(vocabulary.unseen)] = UNKNOWN
        return table[labels]

    def _check_folder(self, folder: str, what: str) -> None:
        if not fileio.isdir(folder, backend_args=self.backend_args):
            raise FileNotFoundError(
                f'the folder of {what} {folder} does not exist; link the '
                'data set there, or set data_root and data_prefix '
                '(data/README.md shows the layout)'
            )


def _has_step(transforms: Sequence, kind: type) -> bool:
    return any(
        isinstance(step, kind) or _has_step(inner_transforms(step), kind)
        for step in transforms
    )


def _pad_labels_with(value: int, transforms: Sequence) -> None:
    """Make transforms pad label maps with ``value`` instead of 255.

    By default, MMSegmentation pads with 255, which may be a label.
    """
    for transform in transforms:
        for name in ('seg_pad_val', 'seg_fill_in', 'ignore_index'):
            if getattr(transform, name, None) == 255:
                setattr(transform, name, value)
        if isinstance(getattr(transform, 'pad_val', None), dict):
            if transform.pad_val.get('seg', 255) == 255:
                transform.pad_val['seg'] = value
        _pad_labels_with(value, inner_transforms(transform))


def _checked_label_map(label_map: Mapping) -> dict[int, int]:
    """Return ``label_map`` with strings as integers; raise if it is wrong."""
    try:
        return {_integer(key): _integer(v) for key, v in label_map.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f'label_map={label_map!r} is not a dict from values in the label '
            'files to labels; write a dict such as {7: 0, 8: 1}'
        ) from error


def _integer(value: int | str) -> int:
    if isinstance(value, str):
        return int(value)
    return operator.index(value)
