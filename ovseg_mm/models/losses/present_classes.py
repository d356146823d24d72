# SPDX-License-Identifier: Apache-2.0
"""Functions that count the pixels of a class, and the classes of an image.

Letters: B images, H x W pixels, T classes.
"""

from mmengine.dist import all_reduce
from torch import Tensor


def pixels_of_classes(
    labels: Tensor, num_classes: int, ignore_index: int
) -> Tensor:
    """Count the pixels of each class in each image.

    Args:
        labels (Tensor): Label maps, (B, H, W) int64; each label is in [0, T)
            or ``ignore_index``.
        num_classes (int): Number T of classes.
        ignore_index (int): Label of pixels without a class.

    Returns:
        Tensor: Number of pixels of each class, (B, T) float32.
    """
    valid = (labels != ignore_index).flatten(1)
    index = labels.flatten(1).where(valid, labels.new_zeros(()))
    counts = valid.new_zeros((len(labels), num_classes)).float()
    return counts.scatter_add(1, index, valid.float())


def num_present(labels: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Count the classes present in each image, and sum over the batch.

    In distributed training, the sum is averaged over the processes.

    Args:
        labels (Tensor): Label maps, (B, H, W) int64; each label is in [0, T)
            or ``ignore_index``.
        num_classes (int): Number T of classes.
        ignore_index (int): Label of pixels without a class.

    Returns:
        Tensor: Sum over the B images, at least 1, a float32 scalar.
    """
    counts = pixels_of_classes(labels, num_classes, ignore_index)
    present = (counts > 0).sum().float()
    all_reduce(present, op='mean')
    return present.clamp(min=1)
