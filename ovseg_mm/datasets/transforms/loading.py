# SPDX-License-Identifier: Apache-2.0
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from ovseg_mm.datasets.image_files import read_label_map
from ovseg_mm.errors import InputError


@TRANSFORMS.register_module()
class LoadOpenVocabAnnotations(BaseTransform):
    """Load label maps of any number of classes.

    Unlike MMSegmentation's ``LoadAnnotations`` it keeps 16-bit values, has a
    free ignore index, and checks what it reads.

    Required keys: ``seg_map_path``. A sample without it passes unchanged, so
    that one pipeline serves data sets and single images. Read if there are
    any: ``reduce_zero_label``, ``label_map``, ``ignore_index``,
    ``num_labels``, ``ori_shape``, ``seg_fields``.

    Added keys: ``gt_seg_map``, of shape (H, W), and its name in
    ``seg_fields``. The type is uint8 for 8-bit files and int32 for deeper
    ones or an ignore index above 255; of the transforms, only a ``Resize``
    with ``backend='pillow'`` needs uint8.

    Args:
        ignore_index: The value of pixels that do not count, for data sets
            that do not say it themselves.
        backend_args: Options of MMEngine's file backend.
    """

    def __init__(
        self, ignore_index: int = 255, backend_args: dict | None = None
    ) -> None:
        self.ignore_index = ignore_index
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Read, map and check the labels of a sample.

        Raises:
            FileNotFoundError: If the label file is missing.
            ValueError: If it is damaged, is no label map, differs in size
                from the image, or holds values that are no labels.
        """
        path = results.get('seg_map_path')
        if path is None:
            return results
        ignore_index = results.get('ignore_index', self.ignore_index)
        values = read_label_map(path, self.backend_args)
        shape = results.get('ori_shape', values.shape)
        if tuple(shape[:2]) != values.shape:
            raise InputError(
                f'The label file {path} is {values.shape[1]}x'
                f'{values.shape[0]} pixels (width x height), but its image '
                f'is {shape[1]}x{shape[0]}.'
            )
        narrow = values.dtype == np.uint8 and ignore_index <= 255
        labels = values.astype(np.int32)
        if results.get('reduce_zero_label'):
            void = (labels == 0) | (labels == ignore_index)
            labels = np.where(void, ignore_index, labels - 1)
        if results.get('label_map'):
            labels = _apply_map(labels, results['label_map'])
        if 'num_labels' in results:
            check_label_values(
                labels, results['num_labels'], ignore_index, path
            )
        results['gt_seg_map'] = labels.astype(np.uint8 if narrow else np.int32)
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        """Name the transform and its arguments."""
        return (
            f'{type(self).__name__}(ignore_index={self.ignore_index}, '
            f'backend_args={self.backend_args})'
        )


def check_label_values(
    labels: np.ndarray, num_labels: int, ignore_index: int, where: str
) -> None:
    """Make sure that every pixel holds a label or the ignored value.

    Args:
        labels: Integers of any shape.
        num_labels: Number of labels L; 0 to L - 1 are right.
        ignore_index: The one other value that is right.
        where: File, for the message.

    Raises:
        ValueError: If any other value occurs.
    """
    wrong = ((labels < 0) | (labels >= num_labels)) & (labels != ignore_index)
    if not wrong.any():
        return
    found = np.unique(labels[wrong]).tolist()
    listed = ', '.join(map(str, found[:8])) + (', ...' * (len(found) > 8))
    raise InputError(
        f'{where} holds the label values {listed}, but there are '
        f'{num_labels} labels (0 to {num_labels - 1}) and {ignore_index} is '
        'ignored; check vocabulary, reduce_zero_label and ignore_index of '
        'the data set.'
    )


def _apply_map(labels: np.ndarray, label_map: dict[int, int]) -> np.ndarray:
    """Replace values by those of a mapping; others stay."""
    table = np.arange(max(labels.max(initial=0), *label_map) + 1)
    table[list(label_map)] = list(label_map.values())
    return table[labels]
