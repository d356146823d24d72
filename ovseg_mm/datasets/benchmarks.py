# SPDX-License-Identifier: Apache-2.0
"""Public benchmarks of open-vocabulary methods.

ADE20K-150, COCO-Stuff and PASCAL-Context 59, which MMSegmentation has too,
need no class: they are an :class:`OpenVocabDataset` with a shipped vocabulary.
"""

from typing import Any, ClassVar

from mmseg.registry import DATASETS

from .open_vocab_dataset import OpenVocabDataset


class BenchmarkDataset(OpenVocabDataset):
    """An :class:`OpenVocabDataset` with default arguments, ``DEFAULTS``."""

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
    """The 20 objects of PASCAL VOC; background and borders are ignored.

    Label files are from the challenge (0 background, 1 to 20, 255).
    """

    DEFAULTS = dict(vocabulary='voc20', reduce_zero_label=True)


@DATASETS.register_module()
class PascalVOC21Dataset(BenchmarkDataset):
    """The 20 objects of PASCAL VOC and background, with its own class texts.

    Label files are from the challenge (0 background, 1 to 20, 255).
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
    """The 20 objects of PASCAL VOC and background, with 59 class texts.

    The 39 class texts that are not objects have the label of the background.
    Label files are from the challenge; for files that
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

    There are two splits: ``vocabulary='pc59-49-10'``, which most papers
    report, and ``'pc59-49-10-cascade'``, of the released weights of
    Cascade-CLIP.
    """

    DEFAULTS = dict(vocabulary='pc59-49-10', reduce_zero_label=True)


@DATASETS.register_module()
class COCOStuffZeroShotDataset(BenchmarkDataset):
    """COCO-Stuff 164k with 156 seen and 15 unseen classes."""

    DEFAULTS = dict(
        vocabulary='coco-156-15', seg_map_suffix='_labelTrainIds.png'
    )
