# SPDX-License-Identifier: Apache-2.0
"""Data set of masked crops with captions."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcv.transforms import Compose
from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import expanded

COLUMNS = ('filepath', 'title')


@DATASETS.register_module()
class CropCaptionDataset(Dataset):
    """Data set of masked crops, each with a caption and the whole image.

    A masked crop is the part of an image around a mask; pixels outside the
    mask have a fill colour.

    Args:
        ann_file (str): Text file of a table with tabs between its columns:
            ``filepath`` (path of the crop), ``title`` (caption) and,
            optionally, ``image`` (path of the whole image). All paths are
            relative to ``data_root``.
        pipeline (Sequence[Mapping]): Transforms of a sample, which has the
            keys ``crop_path``, ``img_path`` (path of the whole image) and
            ``caption``.
        data_root (str): Folder of the data set.
        image_folder (str, optional): Folder of the whole images, relative to
            ``data_root``, for tables without the column ``image``. The whole
            image of the crop ``NAME_*`` must be ``NAME.jpg`` in this folder.

    Raises:
        FileNotFoundError: If the table does not exist.
        InputError: If the table lacks a column or has no rows.
    """

    def __init__(
        self,
        ann_file: str,
        pipeline: Sequence[Mapping[str, Any]],
        data_root: str = '',
        image_folder: str | None = None,
    ) -> None:
        self.root = expanded(data_root)
        self.image_folder = image_folder
        self.pairs = self._read(self.root / ann_file)
        self.pipeline = Compose(list(pipeline))

    @property
    def metainfo(self) -> dict:
        """Return an empty dict, because the data set has no classes."""
        return {}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Any:
        return self.pipeline(dict(self.pairs[index]))

    def _read(self, path: Path) -> list[dict]:
        if not path.is_file():
            raise FileNotFoundError(
                f'the table of masked crops {path} does not exist; write it '
                'with tools/dataset_converters/crop_captions.py'
            )
        with open(path, newline='', encoding='utf-8-sig') as file:
            rows = list(csv.DictReader(file, delimiter='\t'))
        if not rows:
            raise InputError(
                f'the table of masked crops {path} has no rows; write it '
                'again with tools/dataset_converters/crop_captions.py'
            )
        columns = rows[0].keys()
        needed = COLUMNS if self.image_folder else (*COLUMNS, 'image')
        missing = [name for name in needed if name not in columns]
        if missing:
            raise InputError(
                f'{path} has no column {" and no column ".join(missing)}; '
                f'expected a table with the columns {", ".join(needed)}, '
                'separated by tabs'
                + (
                    ''
                    if self.image_folder
                    else '; the column image is not needed if image_folder '
                    'is set'
                )
            )
        return [self._pair(row) for row in rows]

    def _pair(self, row: Mapping[str, str]) -> dict:
        crop = row['filepath']
        image = row.get('image')
        if image is None:
            name = Path(crop).name.partition('_')[0]
            image = f'{self.image_folder}/{name}.jpg'
        return dict(
            crop_path=str(self.root / crop),
            img_path=str(self.root / image),
            caption=row['title'],
        )
