# SPDX-License-Identifier: Apache-2.0
"""Label maps and pictures on disk, 16 bits included."""

import io
import re
from collections.abc import Mapping
from pathlib import Path

import mmcv
import numpy as np
from mmengine import fileio
from mmengine.structures import BaseDataElement
from PIL import Image

from ovseg_mm.errors import InputError
from ovseg_mm.paths import written_whole


def read_label_map(path: str, backend_args: dict | None = None) -> np.ndarray:
    """Read the pixel values of a label file, unchanged.

    Args:
        path: A one-channel image: 8 or 16 bits, grey or with a colour
            palette, whose indices are the values.
        backend_args: Options of MMEngine's file backend.

    Returns:
        Values of shape (H, W) and type uint8, or int32 for deeper files.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or is no label map.
    """
    content = fileio.get(path, backend_args=backend_args)
    try:
        with Image.open(io.BytesIO(content)) as image:
            values = np.array(image)
    except Exception as error:  # Pillow raises a dozen kinds of them
        raise InputError(
            f'The label file {path} cannot be read; it is damaged or no '
            f'image ({reason_of(error)}).'
        ) from error
    if values.ndim != 2 or values.dtype.kind not in 'bui':
        raise InputError(
            f'The label file {path} has shape {values.shape} and type '
            f'{values.dtype}; expected one channel of integers, the label '
            'of each pixel, not a colour picture.'
        )
    if values.dtype in (np.bool_, np.uint8):
        return values.astype(np.uint8)
    return values.astype(np.int32)


def read_image(path: str | Path) -> np.ndarray:
    """Read a picture as RGB.

    Grey pictures of 16 bits keep the upper 8, as OpenCV does it; whatever
    turns a picture upright is heeded.

    Args:
        path: Image file.

    Returns:
        RGB uint8 of shape (H, W, 3).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, is no image, or has pixels of 32
            bits, whose range nothing tells.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such image file')
    try:
        with Image.open(path) as image:
            depth = grey_bits(image)
            if depth == 16:
                grey = np.array(image) >> 8
                return np.stack([grey.astype(np.uint8)] * 3, axis=-1)
        if depth == 8:
            return mmcv.imread(
                str(path), channel_order='rgb', backend='pillow'
            )
    except Exception as error:  # Pillow raises a dozen kinds of them
        raise InputError(
            f'{path} cannot be read as an image; it is damaged or none '
            f'({reason_of(error)})'
        ) from error
    raise InputError(f'{path} {NO_RANGE}')


NO_RANGE = (
    'has pixels of 32 bits, and nothing tells which values are black and '
    'white; convert it to 8 or 16 bits'
)


def grey_bits(image: Image.Image) -> int:
    """Bits of a channel of an opened image: 8 or less, 16 or 32.

    Pillow turns grey images of more than 8 bits into RGB by clipping.
    """
    # Pillow opens PNG files of 16 bits as 32 in some versions.
    if image.mode.startswith('I;16') or (
        image.mode == 'I' and image.format == 'PNG'
    ):
        return 16
    return 32 if image.mode in ('I', 'F') else 8


def reason_of(error: Exception) -> str:
    """Kind and text of a decoder's error, without addresses of objects."""
    text = re.sub(r' ?<[\w.]+ object at 0x[0-9a-f]+>', '', str(error))
    return f'{type(error).__name__}: {text}'


def sample_name(sample: Mapping | BaseDataElement) -> str:
    """Name the files that are written for a sample.

    Args:
        sample: Data sample, or its dictionary, with ``img_path``; and with
            ``sample_name`` if it is of an ``OpenVocabDataset``, which tells
            images of the same name in different folders apart.

    Returns:
        A file name without suffix.
    """
    return sample.get('sample_name') or Path(sample.get('img_path')).stem


def write_label_map(
    path: str | Path, labels: np.ndarray, num_values: int
) -> None:
    """Write a label map as a grey image, 8 bits if its values allow it.

    Args:
        path: PNG or TIFF file to write; it is whole or not there.
        labels: Integers of shape (H, W) in [0, ``num_values``).
        num_values: Number of values that may occur in any such file of the
            set, so that all of them get the same type.
    """
    deep = np.uint8 if num_values <= 256 else np.uint16
    write_image(path, labels.astype(deep))


def write_image(path: str | Path, pixels: np.ndarray) -> None:
    """Write an image file that is whole or not there.

    Args:
        path: PNG, TIFF or JPEG file to write; its folder is made if need be.
        pixels: RGB uint8 of shape (H, W, 3), or grey uint8 or uint16 of
            shape (H, W).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = Image.registered_extensions()[path.suffix.lower()]
    options = dict(compress_level=3) if kind == 'PNG' else {}
    with written_whole(path) as temporary:
        Image.fromarray(pixels).save(temporary, kind, **options)
