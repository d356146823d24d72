# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmseg.registry import TRANSFORMS

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import decode_image

# What LoadImageFromFile may be set to if LoadOpenVocabImage takes its place.
_BACKENDS = ('cv2', 'pillow', None)
_STORED = 'color_ignore_orientation'
_COLOR_TYPES = ('color', _STORED)


@TRANSFORMS.register_module()
class LoadOpenVocabImage(LoadImageFromFile):
    """Read an image by the rule that the whole package shares.

    The rule is that of :func:`ovseg_mm.utils.image_files.decode_image`. An
    :class:`OpenVocabDataset` puts this transform in the place of each
    ``LoadImageFromFile`` in its pipeline that reads colour images with
    OpenCV or Pillow; for ordinary images the pixels are the same.

    Required keys: ``img_path``. Added keys: ``img``, BGR uint8 of shape
    (H, W, 3), or float32; ``img_shape``, ``ori_shape``;
    ``exif_orientation``, 1 to 8, and ``exif_applied``, whether the image was
    turned by it.

    Args:
        to_float32 (bool): Whether the pixels become float32.
        color_type (str): ``'color'``, or ``'color_ignore_orientation'`` to
            read the pixels as they are stored, whatever the EXIF orientation
            is.
        imdecode_backend (str, optional): No effect; accepted because configs
            name it.
        ignore_empty (bool): Whether the result is None, and not an error, for
            an image that cannot be read.
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

        Raises:
            InputError: If it cannot be decoded; the message names the file.
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
    """Have the images of a pipeline read by the shared rule, in place.

    Args:
        transforms (list): Transforms; those inside of others are reached as
            well.
        exif_orientation (str, optional): ``'apply'``, ``'ignore'``, or None
            for what each ``color_type`` says.

    Returns:
        bool, optional: Whether the images are turned by their EXIF
        orientation; None if no transform reads an image in the shared way.
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
    """Transforms inside of a transform or a chain; empty if there are none."""
    # TestTimeAug calls its chains subroutines.
    inner = getattr(transform, 'subroutines', [])
    inner = getattr(transform, 'transforms', inner)
    # A list, or a chain that holds one.
    inner = getattr(inner, 'transforms', inner)
    return inner if isinstance(inner, list) else []


def _loaders(transforms: list) -> Iterator[tuple[list, int]]:
    """Lists of transforms, and where in them an image is read."""
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
