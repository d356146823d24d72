# SPDX-License-Identifier: Apache-2.0
"""Size, flip and padding of an image, read from its sample."""

from mmseg.structures import SegDataSample
from torch import Tensor


def original_size(sample: SegDataSample, img: Tensor) -> tuple[int, int]:
    """Original height and width of an image.

    Args:
        sample (SegDataSample): Its sample; without ``ori_shape`` the size of
            ``img`` counts.
        img (Tensor): The image, (3, H, W).

    Returns:
        tuple[int, int]: (H, W) in pixels.
    """
    height, width = sample.metainfo.get('ori_shape', img.shape[1:])[:2]
    return height, width


def flip_of(sample: SegDataSample) -> str | None:
    """Direction in which an image was flipped.

    Args:
        sample (SegDataSample): Perhaps with ``flip`` and ``flip_direction``.

    Returns:
        str | None: The direction; None if the image was not flipped.
    """
    meta = sample.metainfo
    return meta.get('flip_direction') if meta.get('flip') else None


def without_padding(img: Tensor, meta: dict) -> Tensor:
    """Cut away the padding of an image.

    Args:
        img (Tensor): The image, (3, H, W).
        meta (dict): Perhaps with ``img_padding_size`` or ``padding_size``,
            (left, right, top, bottom) in pixels.

    Returns:
        Tensor: A view, (3, H', W').
    """
    padding = meta.get('img_padding_size', meta.get('padding_size'))
    left, right, top, bottom = padding or (0, 0, 0, 0)
    height, width = img.shape[1:]
    return img[:, top : height - bottom, left : width - right]
