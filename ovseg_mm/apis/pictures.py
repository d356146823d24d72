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
    """A picture that was read.

    Attributes:
        rgb (np.ndarray): (H, W, 3) uint8.
        path (Path, optional): Its file.
    """

    rgb: np.ndarray
    path: Path | None


def is_several(images: object) -> bool:
    """Whether these are several pictures: a folder, a pattern or a list.

    Args:
        images (object): See :func:`each_picture`.

    Returns:
        bool: False for a single picture, and for anything else.
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
        Picture: A picture; files of a folder or pattern are sorted by name.

    Raises:
        FileNotFoundError: If a file does not exist, or a folder or pattern
            has no image.
        InputError: If a path is an address or a device.
    """
    listed = isinstance(images, (str, Path)) or not is_several(images)
    # mypy does not narrow a type where a guard is false.
    for image in cast('Iterable[Picture]', [images] if listed else images):
        if isinstance(image, (str, Path)):
            yield from find_images([image])
        else:
            yield image


def read_ahead(pictures: Iterable[Picture], count: int) -> Iterator[Pixels]:
    """Read pictures in a thread, some of them before they are needed.

    Args:
        pictures (Iterable[Picture]): The pictures.
        count (int): Pictures that wait in memory.

    Yields:
        Pixels: In the order of the pictures.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is not a picture; the message gives its index.
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
        index (int, optional): Its place in a list, for messages.

    Returns:
        Pixels: RGB and path.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is not a picture.
    """
    path = Path(picture) if isinstance(picture, (str, Path)) else None
    try:
        return Pixels(rgb_of(picture), path)
    except InputError as error:
        # The message of a file has its path.
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
            - an array (H, W, 3) uint8, RGB, or (H, W) uint8, grey;
            - a tensor (3, H, W), RGB, or (1, H, W), grey: uint8, or floats
              in [0, 1], as torchvision has them.

    Returns:
        np.ndarray: (H, W, 3) uint8.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is not a picture.
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
        'a picture is a path, bytes of an image file, a PIL image, an array '
        f'or a tensor, or a list of these; found a {type(picture).__name__}'
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
                f'are from {low:g} to {high:g}; give uint8 for values up to '
                '255, and an image that is not normalised'
            )
        tensor = (tensor.float() * 255).round().to(torch.uint8)
    elif tensor.dtype != torch.uint8:
        raise InputError(
            f'an image tensor must be uint8, or floats in [0, 1], but it is '
            f'{str(tensor.dtype).removeprefix("torch.")}'
        )
    pixels = tensor.expand(3, *tensor.shape[1:]).permute(1, 2, 0)
    return np.ascontiguousarray(pixels.numpy())


def _check_not_empty(shape: Sequence[int]) -> None:
    if 0 in shape:
        raise InputError(f'an image of the shape {tuple(shape)} has no pixels')
