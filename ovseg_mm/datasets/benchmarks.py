# SPDX-License-Identifier: Apache-2.0
"""Data sets of public benchmarks for open-vocabulary segmentation.

ADE20K-150, COCO-Stuff and PASCAL-Context 59 need no Python class of their
own: use :class:`OpenVocabDataset` with a vocabulary of this package.
"""

from typing import Any, ClassVar

from mmseg.registry import DATASETS

from .open_vocab_dataset import OpenVocabDataset


class BenchmarkDataset(OpenVocabDataset):
    """Base class of the data sets of benchmarks.

    A subclass sets default arguments in the class attribute ``DEFAULTS``.
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**self.DEFAULTS, **kwargs})


@DATASETS.register_module()
class ADE20K847Dataset(BenchmarkDataset):
    """ADE20K with 847 classes.

    The label files are 16-bit TIFFs; the value 65535 is ignored.
    """

    DEFAULTS = dict(vocabulary='ade847', seg_map_suffix='.tif')


@DATASETS.register_module()
class PascalContext459Dataset(BenchmarkDataset):
    """PASCAL-Context with 459 classes.

    The label files are 16-bit TIFFs; the value 65535 is ignored.
    """

    DEFAULTS = dict(vocabulary='pc459', seg_map_suffix='.tif')


@DATASETS.register_module()
class PascalVOC20Dataset(BenchmarkDataset):
    """PASCAL VOC with 20 object classes; background and borders are ignored.

    The label files are the original files of PASCAL VOC, with the values 0
    (background), 1 to 20 (objects) and 255 (borders).
    """

    DEFAULTS = dict(vocabulary='voc20', reduce_zero_label=True)


@DATASETS.register_module()
class PascalVOC21Dataset(BenchmarkDataset):
    """PASCAL VOC with 20 object classes and the class ``background``.

    The label files are the original files of PASCAL VOC, with the values 0
    (background), 1 to 20 (objects) and 255 (ignored borders).
    """

    DEFAULTS = dict(vocabulary='voc21')


@DATASETS.register_module()
class PascalContext60Dataset(BenchmarkDataset):
    """PASCAL-Context with 59 classes and ``background`` (label 0)."""

    DEFAULTS = dict(vocabulary='pc60')


@DATASETS.register_module()
class COCOObjectDataset(BenchmarkDataset):
    """COCO with 80 object classes and ``background`` (label 0).

    No pixel is ignored.
    """

    DEFAULTS = dict(
        vocabulary='coco_object', seg_map_suffix='_instanceTrainIds.png'
    )


@DATASETS.register_module()
class PascalVOC20bDataset(BenchmarkDataset):
    """PASCAL VOC with 20 object classes and a background with 39 class texts.

    The class texts of the background are the classes of PASCAL-Context 59
    that are not objects of PASCAL VOC. Labels 0 to 19 are the objects, label
    20 is the background. The label files are the original files of PASCAL
    VOC, where the background is 0. Set ``label_map=None`` for label files in
    which the background is 20.
    """

    DEFAULTS = dict(
        vocabulary='voc20b',
        label_map={0: 20, **{value: value - 1 for value in range(1, 21)}},
    )


@DATASETS.register_module()
class PascalVOC20ZeroShotDataset(BenchmarkDataset):
    """PASCAL VOC with 15 seen and 5 unseen object classes."""

    DEFAULTS = dict(vocabulary='voc20-15-5', reduce_zero_label=True)


@DATASETS.register_module()
class PascalContext59ZeroShotDataset(BenchmarkDataset):
    """PASCAL-Context 59 with 49 seen and 10 unseen classes.

    The argument ``vocabulary`` selects the split: ``'pc59-49-10'`` is the
    split of most papers; ``'pc59-49-10-cascade'`` is the split that the
    published weights of Cascade-CLIP were trained on.
    """

    DEFAULTS = dict(vocabulary='pc59-49-10', reduce_zero_label=True)


@DATASETS.register_module()
class COCOStuffZeroShotDataset(BenchmarkDataset):
    """COCO-Stuff 164k with 156 seen and 15 unseen classes."""

    DEFAULTS = dict(
        vocabulary='coco-156-15', seg_map_suffix='_labelTrainIds.png'
    )
