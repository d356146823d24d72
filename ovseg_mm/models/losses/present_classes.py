# SPDX-License-Identifier: Apache-2.0
"""Numbers of pixels per class and of classes that are present."""

from mmengine.dist import all_reduce
from torch import Tensor


def pixels_of_classes(
    labels: Tensor, num_classes: int, ignore_index: int
) -> Tensor:
    """Pixels of each class in each image.

    Args:
        labels (Tensor): Label maps, (B, H, W) int64 in [0, T) or
            ``ignore_index``.
        num_classes (int): T.
        ignore_index (int): Label of pixels without a class.

    Returns:
        Tensor: (B, T) float32.
    """
    valid = (labels != ignore_index).flatten(1)
    index = labels.flatten(1).where(valid, labels.new_zeros(()))
    counts = valid.new_zeros((len(labels), num_classes)).float()
    return counts.scatter_add(1, index, valid.float())


def num_present(labels: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Classes present, summed over images, averaged over processes.

    The result is at least 1. See :func:`pixels_of_classes` for the arguments.
    """
    counts = pixels_of_classes(labels, num_classes, ignore_index)
    present = (counts > 0).sum().float()
    all_reduce(present, op='mean')
    return present.clamp(min=1)
