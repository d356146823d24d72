# SPDX-License-Identifier: Apache-2.0
"""Reading and writing of image files and label files.

All parts of the package read images with :func:`decode_image`, by these rules:

- Pillow decodes the image; the result is RGB with 8 bits per channel.
- Grey, 1-bit, palette and CMYK images are converted to RGB.
- Of channels with 16 bits, the upper 8 bits are kept, as in OpenCV.
- An alpha channel is dropped; the stored colours do not change.
- If a file has several pages or frames, only the first one is read.
- Images with pixels of 32-bit integers or floats raise an error, because the
  range of their values is unknown.
- The EXIF orientation is applied unless the caller passes ``turn=False``.
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .errors import InputError
from .paths import atomic_write, expanded

if TYPE_CHECKING:
    from mmengine.structures import BaseDataElement


_ORIENTATION = 0x0112
# Operation that makes an image with an EXIF orientation upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Orientations whose inverse is another orientation.
_INVERSE = {6: 8, 8: 6}
_HEIC = (b'ftypheic', b'ftypheix', b'ftyphevc')  # bytes 4 to 11
_LOSSY = ('JPEG', 'MPO')


def read_image(
    path: str | Path, turn: bool = True, backend_args: dict | None = None
) -> np.ndarray:
    """Read an image file as RGB.

    Args:
        path (str | Path): Image file.
        turn (bool): Whether to apply the EXIF orientation.
        backend_args (dict, optional): Options of MMEngine's file backend.

    Returns:
        np.ndarray: RGB image, (H, W, 3) uint8.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file is damaged, is not an image, or has pixels of
            32 bits.
    """
    from mmengine import fileio

    path = str(path)
    if path.startswith('~'):
        path = str(expanded(path))
    try:
        content = fileio.get(path, backend_args=backend_args)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise FileNotFoundError(
            f'{path}: there is no such image file; correct the path'
        ) from None
    return decode_image(content, path, turn)[0]


def decode_image(
    content: bytes, name: str, turn: bool = True
) -> tuple[np.ndarray, int]:
    """Decode the content of an image file as RGB.

    Args:
        content (bytes): Content of the whole file.
        name (str): Path of the file, for messages.
        turn (bool): Whether to apply the EXIF orientation.

    Returns:
        tuple[np.ndarray, int]: RGB image, (H, W, 3) uint8; and the EXIF
        orientation, 1 to 8. It is 1 if the image is stored upright, or if the
        file has no orientation.

    Raises:
        InputError: If the file is damaged, is not an image, or has pixels of
            32 bits.
    """
    if not content:
        raise InputError(
            f'{name} cannot be read as an image, because it is empty (0 '
            'bytes); replace the file'
        )
    if content[4:12] in _HEIC:
        _enable_heic(name)
    try:
        with Image.open(io.BytesIO(content)) as image:
            return _decoded(image, name, turn)
    except InputError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds of them
        raise _unreadable(name, error) from error


def image_pixels(image: Image.Image, name: str) -> np.ndarray:
    """Convert a PIL image to RGB by the rules of :func:`decode_image`.

    Args:
        image (Image.Image): PIL image, opened from a file or made in memory.
            The image is not closed.
        name (str): Name of the image, for messages.

    Returns:
        np.ndarray: RGB image, (H, W, 3) uint8, with the EXIF orientation
        applied.

    Raises:
        InputError: If the image is damaged or has pixels of 32 bits.
    """
    try:
        return _decoded(image, name, turn=True)[0]
    except InputError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds of them
        raise _unreadable(name, error) from error


def _enable_heic(name: str) -> None:
    """Make Pillow read HEIC, an image format of phones."""
    try:
        from pillow_heif import register_heif_opener as enable
    except ImportError:
        raise InputError(
            f'{name} is a HEIC file; run pip install pillow-heif, or save the '
            'image as JPEG'
        ) from None
    enable()


def _unreadable(name: str, error: Exception) -> InputError:
    return InputError(
        f'{name} cannot be read as an image; it is damaged or not an image '
        f'({reason_of(error)}); replace it'
    )


def _decoded(
    image: Image.Image, name: str, turn: bool
) -> tuple[np.ndarray, int]:
    """Get RGB pixels, (H, W, 3) uint8, and EXIF orientation of an image."""
    orientation = _orientation(image)
    depth = _grey_bits(image)
    if depth == 32:
        raise InputError(
            f'{name} has pixels of 32 bits, whose range is unknown; convert '
            'the image to 8 or 16 bits'
        )
    pixels = _rgb(image, depth)
    turned_already = _orientation(image) != orientation
    if turn and not turned_already:
        pixels = _turned(pixels, orientation)
    elif turned_already and not turn:  # Pillow turns TIFF files itself.
        pixels = _turned(pixels, _INVERSE.get(orientation, orientation))
    return pixels, orientation


def image_size(
    path: str | Path, backend_args: dict | None = None
) -> tuple[tuple[int, int], int]:
    """Read the size and the EXIF orientation of an image from its header.

    Args:
        path (str | Path): Image file.
        backend_args (dict, optional): Options of MMEngine's file backend.

    Returns:
        tuple[tuple[int, int], int]: Height and width as stored, before the
        orientation is applied; and the orientation, 1 to 8.

    Raises:
        OSError: If the file is missing or cannot be opened as an image.
    """
    from mmengine import fileio

    with (
        fileio.get_local_path(str(path), backend_args=backend_args) as local,
        Image.open(local) as image,
    ):
        width, height = image.size
        orientation = _orientation(image)
        # For TIFF files, Pillow gives the size after the turn.
        if image.format == 'TIFF' and swaps_sides(orientation):
            width, height = height, width
    return (height, width), orientation


def swaps_sides(orientation: int) -> bool:
    """Whether an EXIF orientation swaps height and width."""
    return orientation >= 5


def orientation_text(orientation: int) -> str:
    """Describe an EXIF orientation, such as ``'turned by 180 degrees'``."""
    return {
        2: 'mirrored left to right',
        3: 'turned by 180 degrees',
        4: 'mirrored top to bottom',
        5: 'mirrored and turned by 90 degrees',
        6: 'turned by 90 degrees clockwise',
        7: 'mirrored and turned by 90 degrees',
        8: 'turned by 90 degrees anticlockwise',
    }.get(orientation, 'upright')


def read_label_map(path: str, backend_args: dict | None = None) -> np.ndarray:
    """Read the pixel values of a label file.

    Args:
        path (str): Image file with one channel of 1 to 16 bits. If the image
            has a colour palette, the palette indices are read.
        backend_args (dict, optional): Options of MMEngine's file backend.

    Returns:
        np.ndarray: Pixel values, (H, W) uint8, or int32 for more than 8 bits.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file is damaged, or has several channels, several
            pages, lossy compression or an EXIF orientation.
    """
    from mmengine import fileio

    try:
        content = fileio.get(path, backend_args=backend_args)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise FileNotFoundError(
            f'{path}: there is no such label file; correct the path'
        ) from None
    try:
        with Image.open(io.BytesIO(content)) as image:
            fault = _fault_of_labels(image)
            values = np.array(image)
    except Exception as error:  # Pillow raises a dozen kinds of them
        raise InputError(
            f'the label file {path} cannot be read; it is damaged or not an '
            f'image ({reason_of(error)}); replace it'
        ) from error
    if values.ndim != 2 or values.dtype.kind not in 'bui':
        raise InputError(
            f'the label file {path} has shape {values.shape} and type '
            f'{values.dtype}; expected one channel of integers, the label '
            f'of each pixel{_advice_for_colours(values)}'
        )
    if fault:
        raise InputError(f'the label file {path} {fault}')
    if values.dtype in (np.bool_, np.uint8):
        return values.astype(np.uint8) // _grey_step(content)
    return values.astype(np.int32)


def sample_name(sample: 'Mapping | BaseDataElement') -> str:
    """Get the name of the output files of a sample, without suffix.

    Args:
        sample (Mapping | BaseDataElement): Data sample, or a dict of its
            values.

    Returns:
        str: Value of ``sample_name``; if the sample does not have it, the
        file name in ``img_path`` without suffix. Data sets set
        ``sample_name`` if images in several folders have equal names.
    """
    name = sample.get('sample_name')
    return name or Path(str(sample.get('img_path'))).stem


def write_label_map(
    path: str | Path, labels: np.ndarray, num_values: int
) -> None:
    """Write a label map as a grey image of 8 or 16 bits.

    Args:
        path (str | Path): PNG or TIFF file to write.
        labels (np.ndarray): Labels, (H, W) integers in [0, ``num_values``).
        num_values (int): Number of possible values. The image has 8 bits for
            256 values or fewer, and 16 bits for more.
    """
    deep = np.uint8 if num_values <= 256 else np.uint16
    write_image(path, labels.astype(deep))


def write_image(path: str | Path, pixels: np.ndarray) -> None:
    """Write an image file; see :func:`~ovseg_mm.utils.paths.atomic_write`.

    Args:
        path (str | Path): PNG, TIFF or JPEG file to write. A missing folder
            is created.
        pixels (np.ndarray): RGB image, (H, W, 3) uint8; or grey image, (H, W)
            uint8 or uint16.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = Image.registered_extensions()[path.suffix.lower()]
    options = dict(compress_level=3) if kind == 'PNG' else {}
    with atomic_write(path) as file:
        Image.fromarray(pixels).save(file, kind, **options)


def reason_of(error: Exception) -> str:
    """Get the type and message of an error, without object addresses."""
    text = re.sub(r' ?<[\w.]+ object at 0x[0-9a-f]+>', '', str(error))
    return f'{type(error).__name__}: {text}'


def _orientation(image: Image.Image) -> int:
    try:
        tag = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data; the image may be sound
        return 1
    return tag if tag in _TURNS else 1


def _grey_bits(image: Image.Image) -> int:
    """Bits per channel of a PIL image: 8, 16 or 32."""
    # Pillow opens PNG files of 16 bits as 32 in some versions.
    if image.mode.startswith('I;16') or (
        image.mode == 'I' and image.format == 'PNG'
    ):
        return 16
    return 32 if image.mode in ('I', 'F') else 8


def _rgb(image: Image.Image, depth: int) -> np.ndarray:
    """Get RGB pixels, (H, W, 3) uint8, of a PIL image of 8 or 16 bits."""
    if depth == 16:
        # Pillow's own conversion would clip the values.
        grey = (np.array(image) >> 8).astype(np.uint8)
        return np.stack([grey] * 3, axis=-1)
    image.load()
    if image.mode in ('LA', 'La', 'PA'):
        # A direct conversion blends with the alpha channel.
        image = image.convert('RGBA')
    return np.array(image.convert('RGB'))


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation to RGB pixels, (H, W, 3) uint8."""
    if orientation not in _TURNS:
        return pixels
    return np.array(Image.fromarray(pixels).transpose(_TURNS[orientation]))


def _fault_of_labels(image: Image.Image) -> str | None:
    """Get the reason why a file cannot be a label map; None if it can."""
    if image.format in _LOSSY:
        return (
            'is a JPEG, whose compression changes label values; save the '
            'labels as PNG, from the source and not from this file'
        )
    pages = getattr(image, 'n_frames', 1)
    if pages > 1:
        return f'has {pages} pages or frames; save only one of them'
    orientation = _orientation(image)
    if orientation != 1:
        return (
            f'has the EXIF orientation {orientation} '
            f'({orientation_text(orientation)}); save the labels as they are '
            'to be read, without EXIF data'
        )
    return None


def _advice_for_colours(values: np.ndarray) -> str:
    """Advice to append to the error about a label file of wrong shape."""
    if values.ndim != 3 or values.shape[2] < 3:
        return ''
    if (values[..., :3] == values[..., :1]).all():
        return '; its colour channels are equal: save one of them as grey'
    return ', not a colour picture: replace each colour by its label'


def _grey_step(content: bytes) -> int:
    """Get the divisor that restores grey values of PNG files.

    Decoders scale the values of files with 2 or 4 bits to [0, 255].
    """
    is_png = content[:8] == b'\x89PNG\r\n\x1a\n'
    bits, colour_type = content[24:26] if is_png else (8, 0)
    return {2: 85, 4: 17}.get(bits, 1) if colour_type == 0 else 1
