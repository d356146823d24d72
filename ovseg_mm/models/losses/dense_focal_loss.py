# SPDX-License-Identifier: Apache-2.0
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from .present_classes import num_present


@MODELS.register_module()
class DenseFocalLoss(nn.Module):
    """Sigmoid focal loss of every class at every pixel.

    The loss is averaged over the pixels and summed over all classes and
    images. The sum is divided by the number of classes that are present in the
    images, which :func:`num_present` counts. Ignored pixels are negatives of
    every class, unlike in MMSegmentation's ``FocalLoss``. No one-hot tensor is
    made: all pixels are first treated as negatives of all classes, then the
    loss of the labelled class at each pixel is corrected.

    Args:
        alpha (float): Weight of positives, in [0, 1]. Negatives have weight
            ``1 - alpha``.
        gamma (float): Exponent of the focal factor ``(1 - p_t) ** gamma``,
            where p_t is the probability of the target.
        loss_weight (float): Factor of the loss.
        loss_name (str): Key of the loss in the log.
    """

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_mask',
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma
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
        # Sums over all pixels exceed the range of half precision.
        logits = logits.float()
        valid = labels != ignore_index
        index = labels.where(valid, labels.new_zeros(()))
        labelled = logits.gather(1, index[:, None])[:, 0]
        change = self._positive(labelled) - self._negative(labelled)
        total = self._negative(logits).sum() + (change * valid).sum()
        pixels = labels[0].numel()
        present = num_present(labels, logits.shape[1], ignore_index)
        return self.loss_weight * total / (pixels * present)

    def _positive(self, logits: Tensor) -> Tensor:
        focus = logits.sigmoid().neg().add(1) ** self.gamma
        return self.alpha * focus * F.softplus(-logits)

    def _negative(self, logits: Tensor) -> Tensor:
        focus = logits.sigmoid() ** self.gamma
        return (1 - self.alpha) * focus * F.softplus(logits)
