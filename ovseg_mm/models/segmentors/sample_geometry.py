# SPDX-License-Identifier: Apache-2.0
"""Original size, flip and padding of an image, read from its sample."""

from mmseg.structures import SegDataSample
from torch import Tensor


def original_size(sample: SegDataSample, img: Tensor) -> tuple[int, int]:
    """Original height and width of an image.

    Args:
        sample (SegDataSample): Sample of the image.
        img (Tensor): The image, (3, H, W).

    Returns:
        tuple[int, int]: Height and width from ``ori_shape`` of the sample. If
        the sample has no ``ori_shape``: height and width of ``img``.
    """
    height, width = sample.metainfo.get('ori_shape', img.shape[1:])[:2]
    return height, width


def flip_of(sample: SegDataSample) -> str | None:
    """Direction in which an image was flipped.

    Args:
        sample (SegDataSample): Sample of the image.

    Returns:
        str | None: ``flip_direction`` of the sample, such as
        ``'horizontal'``; None if the image was not flipped.
    """
    meta = sample.metainfo
    return meta.get('flip_direction') if meta.get('flip') else None


def without_padding(img: Tensor, meta: dict) -> Tensor:
    """Cut off the padding of an image.

    Args:
        img (Tensor): The image, (3, H, W).
        meta (dict): Metainfo of the sample. ``img_padding_size`` or
            ``padding_size`` has the padding in pixels: left, right, top,
            bottom. Without these keys, nothing is cut off.

    Returns:
        Tensor: Image without padding, (3, H', W'), a view of ``img``.
    """
    padding = meta.get('img_padding_size', meta.get('padding_size'))
    left, right, top, bottom = padding or (0, 0, 0, 0)
    height, width = img.shape[1:]
    return img[:, top : height - bottom, left : width - right]
