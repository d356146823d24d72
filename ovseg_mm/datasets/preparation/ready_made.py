# SPDX-License-Identifier: Apache-2.0
"""Checks of data sets whose downloaded files need no preparation."""

import argparse
from pathlib import Path

from .base import LabelCheck, Preparation, Task, read_list


class _ReadyMade(Preparation):
    ready_made = True

    def tasks(self, root: Path, options: argparse.Namespace) -> list[Task]:
        """Return no tasks, because the files need no preparation."""
        return []


class ADE20K150(_ReadyMade):
    """Checks the validation files of ADE20K, which need no preparation."""

    title = 'ADE20K-150'
    root = 'data/ade/ADEChallengeData2016'
    download = 'https://sceneparsing.csail.mit.edu (ADEChallengeData2016.zip)'

    def checks(
        self, root: Path, options: argparse.Namespace
    ) -> list[LabelCheck]:
        """Return one check, of the number of files and their label values."""
        return [
            LabelCheck(
                folder=root / 'annotations' / 'validation',
                suffix='.png',
                counts=(2000,),
                values=151,
                ignored=None,
                bits=8,
                images=root / 'images' / 'validation',
            )
        ]


class PascalVOC(_ReadyMade):
    """Checks the validation files of PASCAL VOC, which need no preparation."""

    title = 'PASCAL VOC 2012'
    root = 'data/VOCdevkit/VOC2012'
    download = (
        'http://host.robots.ox.ac.uk/pascal/VOC/voc2012 '
        '(VOCtrainval_11-May-2012.tar)'
    )

    def checks(
        self, root: Path, options: argparse.Namespace
    ) -> list[LabelCheck]:
        """Return one check, of the number of files and their label values."""
        samples = root / 'ImageSets' / 'Segmentation' / 'val.txt'
        if not samples.is_file():
            raise self.missing(samples, 'the list of validation images')
        return [
            LabelCheck(
                folder=root / 'SegmentationClass',
                suffix='.png',
                counts=(1449,),
                values=21,
                ignored=255,
                bits=8,
                images=root / 'JPEGImages',
                present=21,
                names=tuple(read_list(samples)),
            )
        ]
