# SPDX-License-Identifier: Apache-2.0
"""RGB pixels of files, bytes, arrays, tensors and PIL images."""

import glob
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

import numpy as np
import torch
from PIL import Image

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import decode_image, image_pixels, read_image
from ovseg_mm.utils.paths import expanded
from ovseg_mm.utils.picture_files import find_images

Picture: TypeAlias = (
    str
    | Path
    | bytes
    | bytearray
    | memoryview
    | Image.Image
    | np.ndarray
    | torch.Tensor
)
"""Types of images that :func:`rgb_of` accepts."""


class Pixels(NamedTuple):
    """Pixels of a picture, and the file that they were read from.

    Attributes:
        rgb (np.ndarray): RGB pixels, (H, W, 3) uint8.
        path (Path, optional): File of the picture. None: the picture was not
            given as a path.
    """

    rgb: np.ndarray
    path: Path | None


def is_several(images: object) -> bool:
    """Whether an argument stands for several pictures, not for a single one.

    Args:
        images (object): Argument of :func:`each_picture`.

    Returns:
        bool: True for a folder, a pattern, a list or another iterable; False
        for anything else.
    """
    if isinstance(images, (str, Path)):
        path = expanded(images)
        if path.is_file():
            return False
        return path.is_dir() or glob.has_magic(str(images))
    return isinstance(images, Iterable) and not isinstance(
        images, (bytes, bytearray, memoryview, np.ndarray, torch.Tensor)
    )


def each_picture(images: Picture | Iterable[Picture]) -> Iterator[Picture]:
    """Pictures one by one, with folders and patterns expanded.

    Args:
        images (Picture | Iterable[Picture]): A picture, a folder, a pattern
            such as ``'street/*.jpg'``, or several of these.

    Yields:
        Picture: A picture. Files of a folder or pattern are sorted by name.

    Raises:
        FileNotFoundError: If a file does not exist, or a folder or pattern
            has no image.
        InputError: If a path is a web address, or is neither a file nor a
            folder.
    """
    listed = isinstance(images, (str, Path)) or not is_several(images)
    # mypy does not narrow a type where a guard is false.
    for image in cast('Iterable[Picture]', [images] if listed else images):
        if isinstance(image, (str, Path)):
            yield from find_images([image])
        else:
            yield image


def read_ahead(pictures: Iterable[Picture], count: int) -> Iterator[Pixels]:
    """Read pictures in a thread, a few of them in advance.

    Args:
        pictures (Iterable[Picture]): The pictures.
        count (int): Number of pictures to read in advance.

    Yields:
        Pixels: Pixels of each picture, in the order of ``pictures``.

    Raises:
        FileNotFoundError: If a file does not exist.
        InputError: If a picture cannot be read; the message gives its path,
            or its index if it is not a file.
    """
    with ThreadPoolExecutor(1) as thread:
        waiting: deque[Future[Pixels]] = deque()
        for index, picture in enumerate(pictures):
            waiting.append(thread.submit(read_picture, picture, index))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def read_picture(picture: Picture, index: int | None = None) -> Pixels:
    """Read one picture.

    Args:
        picture (Picture): See :func:`rgb_of`.
        index (int, optional): Index of the picture in a list, for error
            messages. None: the picture is not part of a list.

    Returns:
        Pixels: Pixels and path of the picture.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the picture cannot be read, see :func:`rgb_of`.
    """
    path = Path(picture) if isinstance(picture, (str, Path)) else None
    try:
        return Pixels(rgb_of(picture), path)
    except InputError as error:
        # Messages about a file name its path already.
        if index is None or path is not None:
            raise
        raise InputError(
            f'image {index} (counting from 0): {error}'
        ) from error


def rgb_of(picture: Picture) -> np.ndarray:
    """RGB pixels of a picture.

    Args:
        picture (Picture): One of

            - a path;
            - ``bytes``, the content of an image file;
            - a PIL image; its EXIF orientation is applied;
            - an array: RGB (H, W, 3) uint8, or grey (H, W) uint8;
            - a tensor: RGB (3, H, W) or grey (1, H, W), of type uint8 or
              float in [0, 1], as in torchvision.

    Returns:
        np.ndarray: RGB pixels, (H, W, 3) uint8.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the file or bytes are not an image, or the picture has
            another type, shape or range of values.
    """
    if isinstance(picture, (str, Path)):
        return read_image(picture)
    if isinstance(picture, (bytes, bytearray, memoryview)):
        content = bytes(picture)
        return decode_image(content, f'image of {len(content)} bytes')[0]
    if isinstance(picture, Image.Image):
        return image_pixels(picture, 'the PIL image')
    if isinstance(picture, np.ndarray):
        return _of_array(picture)
    if isinstance(picture, torch.Tensor):
        return _of_tensor(picture)
    raise InputError(
        f'an image cannot be of the type {type(picture).__name__}; give a '
        'path, bytes of an image file, a PIL image, an array or a tensor, or '
        'a list of these'
    )


def _of_array(array: np.ndarray) -> np.ndarray:
    grey = array.ndim == 2
    if array.dtype != np.uint8 or not (
        grey or (array.ndim == 3 and array.shape[2] == 3)
    ):
        raise InputError(
            'an image array must be RGB, (height, width, 3) uint8, or grey, '
            f'(height, width) uint8, but it has the shape {array.shape} and '
            f'the type {array.dtype}'
        )
    _check_not_empty(array.shape)
    return np.stack([array] * 3, axis=-1) if grey else array


def _of_tensor(tensor: torch.Tensor) -> np.ndarray:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        raise InputError(
            'an image tensor must be RGB, (3, height, width), or grey, (1, '
            f'height, width), but it has the shape {tuple(tensor.shape)}; '
            'give several images as a list'
        )
    _check_not_empty(tensor.shape)
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        low, high = tensor.min().item(), tensor.max().item()
        if not 0 <= low <= high <= 1:
            raise InputError(
                'an image tensor of floats must be in [0, 1], but its values '
                f'are from {low:g} to {high:g}; convert values up to 255 to '
                'uint8, and undo a normalisation'
            )
        tensor = (tensor.float() * 255).round().to(torch.uint8)
    elif tensor.dtype != torch.uint8:
        raise InputError(
            'an image tensor must be uint8, or floats in [0, 1], but its type '
            f'is {str(tensor.dtype).removeprefix("torch.")}'
        )
    pixels = tensor.expand(3, *tensor.shape[1:]).permute(1, 2, 0)
    return np.ascontiguousarray(pixels.numpy())


def _check_not_empty(shape: Sequence[int]) -> None:
    if 0 in shape:
        raise InputError(
            f'an image of the shape {tuple(shape)} has no pixels; give an '
            'image with a height and width of at least 1'
        )
