# SPDX-License-Identifier: Apache-2.0
"""The public data sets that open-vocabulary methods are compared on.

Those that MMSegmentation knows (ADE20K-150, COCO-Stuff, PASCAL-Context 59)
are an :class:`OpenVocabDataset` with a shipped vocabulary.
"""

from typing import Any, ClassVar

from mmseg.registry import DATASETS

from .open_vocab_dataset import OpenVocabDataset


class BenchmarkDataset(OpenVocabDataset):
    """An :class:`OpenVocabDataset` whose arguments have defaults."""

    DEFAULTS: ClassVar[dict[str, Any]] = {}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**self.DEFAULTS, **kwargs})


@DATASETS.register_module()
class ADE20K847Dataset(BenchmarkDataset):
    """ADE20K with 847 classes: 16-bit TIFFs, 65535 ignored."""

    DEFAULTS = dict(vocabulary='ade847', seg_map_suffix='.tif')


@DATASETS.register_module()
class PascalContext459Dataset(BenchmarkDataset):
    """PASCAL-Context with all 459 classes: 16-bit TIFFs, 65535 ignored."""

    DEFAULTS = dict(vocabulary='pc459', seg_map_suffix='.tif')


@DATASETS.register_module()
class PascalVOC20Dataset(BenchmarkDataset):
    """The 20 objects of PASCAL VOC; background and borders do not count.

    Label files are those of the challenge (0 background, 1 to 20, 255).
    """

    DEFAULTS = dict(vocabulary='voc20', reduce_zero_label=True)


@DATASETS.register_module()
class PascalVOC21Dataset(BenchmarkDataset):
    """The 20 objects of PASCAL VOC and background, which has words.

    Label files are those of the challenge (0 background, 1 to 20, 255).
    """

    DEFAULTS = dict(vocabulary='voc21')


@DATASETS.register_module()
class PascalContext60Dataset(BenchmarkDataset):
    """PASCAL-Context 59 and background (0 in the label files)."""

    DEFAULTS = dict(vocabulary='pc60')


@DATASETS.register_module()
class COCOObjectDataset(BenchmarkDataset):
    """The 80 objects of COCO and background; no pixel is ignored."""

    DEFAULTS = dict(
        vocabulary='coco_object', seg_map_suffix='_instanceTrainIds.png'
    )


@DATASETS.register_module()
class PascalVOC20bDataset(BenchmarkDataset):
    """The 20 objects of PASCAL VOC and background, found with 59 texts.

    Whatever a model takes for one of the 39 texts that are no object counts
    as background. Label files are those of the challenge; for files that
    already hold the labels (background 20) set ``label_map=None``.
    """

    DEFAULTS = dict(
        vocabulary='voc20b',
        label_map={0: 20, **{value: value - 1 for value in range(1, 21)}},
    )


@DATASETS.register_module()
class PascalVOC20ZeroShotDataset(BenchmarkDataset):
    """PASCAL VOC with 15 seen and 5 unseen objects."""

    DEFAULTS = dict(vocabulary='voc20-15-5', reduce_zero_label=True)


@DATASETS.register_module()
class PascalContext59ZeroShotDataset(BenchmarkDataset):
    """PASCAL-Context 59 with 49 seen and 10 unseen classes.

    There are two such splits: ``vocabulary='pc59-49-10'``, which most papers
    report, and ``'pc59-49-10-cascade'``, which the released weights of
    Cascade-CLIP were trained on.
    """

    DEFAULTS = dict(vocabulary='pc59-49-10', reduce_zero_label=True)


@DATASETS.register_module()
class COCOStuffZeroShotDataset(BenchmarkDataset):
    """COCO-Stuff 164k with 156 seen and 15 unseen classes."""

    DEFAULTS = dict(
        vocabulary='coco-156-15', seg_map_suffix='_labelTrainIds.png'
    )
