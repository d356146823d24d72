# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmseg.registry import TRANSFORMS

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import decode_image

# Options of a LoadImageFromFile that LoadOpenVocabImage can replace.
_BACKENDS = ('cv2', 'pillow', None)
_STORED = 'color_ignore_orientation'
_COLOR_TYPES = ('color', _STORED)


@TRANSFORMS.register_module()
class LoadOpenVocabImage(LoadImageFromFile):
    """Read an image with the reader of this package.

    See :func:`ovseg_mm.utils.image_files.decode_image`. An
    :class:`OpenVocabDataset` replaces each ``LoadImageFromFile`` of its
    pipeline that reads colour images with OpenCV or Pillow by this transform;
    the pixels of 8-bit RGB images are the same.

    Required keys: ``img_path``. Added keys: ``img``, BGR uint8 of shape
    (H, W, 3), or float32; ``img_shape``, ``ori_shape``;
    ``exif_orientation``, 1 to 8, and ``exif_applied``, whether the image was
    turned by its EXIF orientation.

    Args:
        to_float32 (bool): Whether to convert the pixels to float32.
        color_type (str): ``'color'``, or ``'color_ignore_orientation'`` to
            read the pixels as stored, without the EXIF orientation.
        imdecode_backend (str, optional): No effect; for configs that set it.
        ignore_empty (bool): Whether to return None for an image that cannot
            be read, instead of raising.
        backend_args (dict, optional): Options of MMEngine's file backend.
    """

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = 'color',
        imdecode_backend: str | None = 'pillow',
        ignore_empty: bool = False,
        *,
        backend_args: dict | None = None,
    ) -> None:
        if color_type not in _COLOR_TYPES:
            raise InputError(
                f'color_type of LoadOpenVocabImage is one of {_COLOR_TYPES}; '
                f'found {color_type!r}'
            )
        super().__init__(
            to_float32=to_float32,
            color_type=color_type,
            imdecode_backend=imdecode_backend,
            ignore_empty=ignore_empty,
            backend_args=backend_args,
        )

    def transform(self, results: dict) -> dict | None:
        """Read the image of a sample.

        Args:
            results (dict): The sample.

        Returns:
            dict, optional: The sample with its image; None if the image
            cannot be read and ``ignore_empty`` is set.

        Raises:
            InputError: If the image cannot be decoded and ``ignore_empty`` is
                not set; the message names the file.
        """
        path, applied = results['img_path'], self.color_type != _STORED
        try:
            content = fileio.get(path, backend_args=self.backend_args)
            pixels, orientation = decode_image(content, path, applied)
        except (InputError, OSError):
            if self.ignore_empty:
                return None
            raise
        img = np.ascontiguousarray(pixels[..., ::-1])
        results['img'] = img.astype(np.float32) if self.to_float32 else img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        results['exif_orientation'] = orientation
        results['exif_applied'] = applied
        return results


def share_image_rule(
    transforms: list, exif_orientation: str | None
) -> bool | None:
    """Replace image loading in a pipeline by :class:`LoadOpenVocabImage`.

    Args:
        transforms (list): Transforms, changed in place; transforms inside
            other transforms are replaced too.
        exif_orientation (str, optional): ``'apply'``, ``'ignore'``, or None
            to keep each ``color_type``.

    Returns:
        bool, optional: Whether images are turned by their EXIF orientation;
        None if no transform was replaced.
    """
    turned = None
    for steps, index in _loaders(transforms):
        step = steps[index]
        color_type = {
            None: step.color_type,
            'apply': 'color',
            'ignore': _STORED,
        }[exif_orientation]
        steps[index] = LoadOpenVocabImage(
            to_float32=step.to_float32,
            color_type=color_type,
            imdecode_backend=step.imdecode_backend,
            ignore_empty=step.ignore_empty,
            backend_args=step.backend_args,
        )
        turned = color_type != _STORED
    return turned


def inner_transforms(transform: Any) -> list:
    """Transforms inside a transform or a chain; empty if there are none."""
    # TestTimeAug has its chains in `subroutines`.
    inner = getattr(transform, 'subroutines', [])
    inner = getattr(transform, 'transforms', inner)
    # A list, or a chain with a list.
    inner = getattr(inner, 'transforms', inner)
    return inner if isinstance(inner, list) else []


def _loaders(transforms: list) -> Iterator[tuple[list, int]]:
    """Yield lists of transforms and the index of an image loader in each."""
    for index, step in enumerate(transforms):
        if (
            type(step) in (LoadImageFromFile, LoadOpenVocabImage)
            and step.color_type in _COLOR_TYPES
            and step.imdecode_backend in _BACKENDS
            and step.file_client_args is None
        ):
            yield transforms, index
        else:
            yield from _loaders(inner_transforms(step))
