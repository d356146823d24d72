# SPDX-License-Identifier: Apache-2.0
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from mmseg.registry import TRANSFORMS

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import (
    orientation_text,
    read_label_map,
    swaps_sides,
)


@TRANSFORMS.register_module()
@dataclass(eq=False)
class LoadOpenVocabAnnotations(BaseTransform):
    """Load the label map of a sample, with any number of classes.

    Unlike MMSegmentation's ``LoadAnnotations``, this transform keeps 16-bit
    values, accepts any ignore index, and checks the sizes and values of label
    maps. It warns once if the EXIF orientation of an image makes it uncertain
    whether the labels fit the image.

    Required keys: ``seg_map_path``. A sample without this key passes
    unchanged, so that the same pipeline can be used for images without
    labels.

    Optional keys, which :class:`OpenVocabDataset` and
    :class:`LoadOpenVocabImage` set: ``reduce_zero_label``, ``label_map``,
    ``ignore_index``, ``num_labels``, ``ori_shape``, ``seg_fields``,
    ``exif_orientation``, ``exif_applied``; ``exif_chosen``, True if the user
    has set ``exif_orientation`` of the data set, which turns the warning off.

    Added keys: ``gt_seg_map``, label of each pixel, (H, W); the entry
    ``'gt_seg_map'`` in ``seg_fields``. The dtype of the labels is uint8 for
    8-bit files, and int32 for 16-bit files or an ignore index above 255.

    Args:
        ignore_index (int): Value of ignored pixels, for samples without the
            key ``ignore_index``.
        backend_args (dict, optional): Options of MMEngine's file backend.
    """

    ignore_index: int = 255
    backend_args: dict | None = None
    _warned: bool = field(default=False, init=False, repr=False)

    def transform(self, results: dict) -> dict:
        """Read, map and check the labels of a sample.

        Args:
            results (dict): Sample with ``seg_map_path``.

        Returns:
            dict: Sample with ``gt_seg_map``.

        Raises:
            FileNotFoundError: If the label file is missing.
            InputError: If the label file is damaged, is not a label map,
                differs in size from the image, or holds values that are not
                labels.
        """
        path = results.get('seg_map_path')
        if path is None:
            return results
        ignore_index = results.get('ignore_index', self.ignore_index)
        values = read_label_map(path, self.backend_args)
        if 'ori_shape' in results:
            self._compare(results, values.shape)
        narrow = values.dtype == np.uint8 and ignore_index <= 255
        labels = map_label_values(
            values,
            ignore_index,
            bool(results.get('reduce_zero_label')),
            results.get('label_map'),
        )
        if 'num_labels' in results:
            check_label_values(
                labels, results['num_labels'], ignore_index, path
            )
        results['gt_seg_map'] = labels.astype(np.uint8 if narrow else np.int32)
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def _compare(self, results: dict, shape: tuple[int, int]) -> None:
        """Check whether the size of a label map fits its image.

        Raises an error if the sizes differ. Warns once if the sizes are equal,
        the image was rotated according to its EXIF orientation, and the labels
        may belong to the image before the rotation.
        """
        image = results.get('img_path', 'its image')
        if 'exif_orientation' in results:
            orientation = results['exif_orientation']
            applied = results['exif_applied']
        else:  # another transform has read the image
            orientation, applied = 1, True
        doubt = compare_sizes(
            image,
            results['seg_map_path'],
            tuple(results['ori_shape'][:2]),
            shape,
            orientation,
            applied,
        )
        if doubt and not self._warned and not results.get('exif_chosen'):
            self._warned = True
            print_log(doubt, 'current', logging.WARNING)


def check_label_values(
    labels: np.ndarray, num_labels: int, ignore_index: int, where: str
) -> None:
    """Check that every pixel has a label or is ignored.

    Args:
        labels (np.ndarray): Label of each pixel, integers of any shape.
        num_labels (int): Number of labels L; valid labels are 0 to L - 1.
        ignore_index (int): Value of ignored pixels.
        where (str): Name of the label file, used in the message.

    Raises:
        InputError: If a pixel has neither a valid label nor ``ignore_index``.
    """
    wrong = ((labels < 0) | (labels >= num_labels)) & (labels != ignore_index)
    if not wrong.any():
        return
    found = np.unique(labels[wrong]).tolist()
    listed = ', '.join(map(str, found[:8])) + (', ...' * (len(found) > 8))
    advice = (
        'check vocabulary, reduce_zero_label and ignore_index of the data set'
    )
    if found == [num_labels]:
        advice = (
            'if the labels are numbered from 1, set reduce_zero_label=True'
        )
    elif found == [255] and num_labels <= 2:
        advice = (
            'if the files are masks with foreground 255, set label_map={255: '
            f'{num_labels - 1}}}'
        )
    elif len(found) > 8:
        advice = (
            'so many wrong values come from another vocabulary, or from label '
            'files that were resized with interpolation, compressed as JPEG '
            'or saved as colour images'
        )
    raise InputError(
        f'{where} holds the label values {listed}, but there are '
        f'{num_labels} labels (0 to {num_labels - 1}) and {ignore_index} is '
        f'ignored; {advice}'
    )


def compare_sizes(
    image: str,
    label_file: str,
    size: tuple[int, int],
    label_size: tuple[int, int],
    orientation: int,
    applied: bool,
) -> str | None:
    """Compare the size of a label map with the size of its image.

    Args:
        image (str): Path of the image, used in messages.
        label_file (str): Path of the label file, used in messages.
        size (tuple[int, int]): Height and width of the image as it was read.
        label_size (tuple[int, int]): Height and width of the label map.
        orientation (int): EXIF orientation of the image, 1 to 8.
        applied (bool): Whether the image was turned by its EXIF orientation.

    Returns:
        str, optional: Text of a warning, if the sizes are equal but the
        label map may belong to the image before its rotation. None if no
        warning is needed.

    Raises:
        InputError: If the sizes differ.
    """
    turn = f'{orientation} ({orientation_text(orientation)})'
    if size == label_size:
        clear = swaps_sides(orientation) and size[0] != size[1]
        if orientation == 1 or clear or not applied:
            return None
        return (
            f'{image} has the EXIF orientation {turn}, which is applied to '
            f'the image, but not to its label file {label_file}. The labels '
            'might not fit the image, although the sizes are equal. If the '
            'labels were drawn on the upright image, set '
            "exif_orientation='apply' of the data set; if they were drawn on "
            "the stored pixels, set exif_orientation='ignore'"
        )
    advice = '; check that the two files belong together'
    if swaps_sides(orientation) and size[::-1] == label_size:
        state, choice = 'as it is stored', "'apply'"
        if applied:
            state, choice = 'turned by its EXIF orientation', "'ignore'"
        advice = (
            f', {state}. The image has the EXIF orientation {turn}; set '
            f'exif_orientation={choice} of the data set (or color_type of '
            'LoadImageFromFile)'
        )
    raise InputError(
        f'the label file {label_file} is {label_size[1]}x{label_size[0]} '
        f'pixels (width x height), but its image {image} is '
        f'{size[1]}x{size[0]}{advice}'
    )


def map_label_values(
    values: np.ndarray,
    ignore_index: int,
    reduce_zero_label: bool = False,
    label_map: Mapping[int, int] | None = None,
) -> np.ndarray:
    """Convert the values of a label file to labels.

    Args:
        values (np.ndarray): Values in the file, integers of any shape.
        ignore_index (int): Value of ignored pixels.
        reduce_zero_label (bool): Whether 0 becomes ``ignore_index`` and all
            other values, except ``ignore_index``, are reduced by one. Applied
            before ``label_map``.
        label_map (Mapping[int, int], optional): Label of each value. Values
            without an entry are not changed.

    Returns:
        np.ndarray: Labels in the shape of ``values``, int32.
    """
    labels = values.astype(np.int32)
    if reduce_zero_label:
        void = (labels == 0) | (labels == ignore_index)
        labels = np.where(void, ignore_index, labels - 1)
    if label_map:
        table = np.arange(max(labels.max(initial=0), *label_map) + 1)
        table[list(label_map)] = list(label_map.values())
        labels = table[labels].astype(np.int32)
    return labels
