# SPDX-License-Identifier: Apache-2.0
import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from .present_classes import num_present, pixels_of_classes


@MODELS.register_module()
class DenseDiceLoss(nn.Module):
    """Sigmoid dice loss of the classes that are present in each image.

    For each image and each class that the image shows, the loss is ``1 - (2 *
    sum(p * t) + 1) / (sum(p) + sum(t) + 1)``, with probabilities p and targets
    t (0 or 1) of all pixels. The sum of these losses is divided by their
    number, which :func:`num_present` counts. Ignored pixels are negatives of
    every class. A batch without any label has loss 0.

    Args:
        loss_weight (float): Factor of the loss.
        loss_name (str): Key of the loss in the log.
    """

    def __init__(
        self, loss_weight: float = 1.0, loss_name: str = 'loss_dice'
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self, logits: Tensor, labels: Tensor, ignore_index: int = 255
    ) -> Tensor:
        """Compute the loss.

        Args:
            logits (Tensor): Logits of T classes, (B, T, H, W).
            labels (Tensor): Label maps, (B, H, W) int64; each label is in
                [0, T) or ``ignore_index``.
            ignore_index (int): Label of pixels without a class.

        Returns:
            Tensor: Weighted loss, a scalar.
        """
        num_classes = logits.shape[1]
        # Sums over all pixels exceed the range of half precision.
        scores = logits.float().sigmoid()
        valid = labels != ignore_index
        index = labels.where(valid, labels.new_zeros(()))
        hits = scores.gather(1, index[:, None])[:, 0] * valid
        # Adding pixels one by one accumulates rounding errors.
        hits = hits.new_zeros(
            scores.shape[:2], dtype=torch.float64
        ).scatter_add(1, index.flatten(1), hits.flatten(1).double())
        truth = pixels_of_classes(labels, num_classes, ignore_index)
        total = scores.sum(dim=(2, 3)) + truth
        dice = 1 - (2 * hits + 1) / (total + 1)
        present = num_present(labels, num_classes, ignore_index)
        return self.loss_weight * (dice * (truth > 0)).sum().float() / present
