# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmseg.registry import TRANSFORMS

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import decode_image

# LoadOpenVocabImage replaces a LoadImageFromFile with these options.
_BACKENDS = ('cv2', 'pillow', None)
_STORED = 'color_ignore_orientation'
_COLOR_TYPES = ('color', _STORED)


@TRANSFORMS.register_module()
class LoadOpenVocabImage(LoadImageFromFile):
    """Read a colour image with the image reader of this package.

    In the pipeline of an :class:`OpenVocabDataset`, this transform takes the
    place of each ``LoadImageFromFile`` that reads colour images and whose
    backend is OpenCV or Pillow. It reads the same pixels of 8-bit RGB images
    as ``LoadImageFromFile``.

    Required keys: ``img_path``.

    Added keys: ``img``, BGR pixels, (H, W, 3) uint8 or float32;
    ``img_shape`` and ``ori_shape``, (H, W); ``exif_orientation``, 1 to 8;
    ``exif_applied``, whether the image was turned by its EXIF orientation.

    Args:
        to_float32 (bool): Whether to convert the pixels to float32.
        color_type (str): ``'color'``: the image is turned by its EXIF
            orientation. ``'color_ignore_orientation'``: the pixels are read
            as stored.
        imdecode_backend (str, optional): Not used; accepted because configs
            of ``LoadImageFromFile`` may set it.
        ignore_empty (bool): Whether to return None for an image that cannot
            be read, instead of raising an error.
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
                f'color_type={color_type!r} of LoadOpenVocabImage must be one '
                f'of {_COLOR_TYPES}'
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
            results (dict): Sample with ``img_path``.

        Returns:
            dict, optional: Sample with the added keys. None if the image
            cannot be read and ``ignore_empty`` is True.

        Raises:
            InputError: If the image cannot be decoded and ``ignore_empty`` is
                False. The message names the file.
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
    """Replace ``LoadImageFromFile`` in a pipeline by LoadOpenVocabImage.

    Args:
        transforms (list): Transforms of the pipeline, changed in place.
            Transforms inside other transforms are replaced too.
        exif_orientation (str, optional): ``'apply'``: images are turned by
            their EXIF orientation. ``'ignore'``: images are read as stored.
            None: the ``color_type`` of each replaced transform decides
            whether images are turned.

    Returns:
        bool, optional: Whether images are turned by their EXIF orientation.
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
    """Return the list of transforms inside a transform; it may be empty."""
    # The transforms of TestTimeAug are in `subroutines`.
    inner = getattr(transform, 'subroutines', [])
    inner = getattr(transform, 'transforms', inner)
    # Either a list, or a Compose with a list.
    inner = getattr(inner, 'transforms', inner)
    return inner if isinstance(inner, list) else []


def _loaders(transforms: list) -> Iterator[tuple[list, int]]:
    """Find the image loaders that can be replaced.

    Args:
        transforms (list): Transforms of a pipeline.

    Yields:
        tuple[list, int]: List that contains the loader, and the index of the
        loader in this list.
    """
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
