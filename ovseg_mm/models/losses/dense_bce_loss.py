# SPDX-License-Identifier: Apache-2.0
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@MODELS.register_module()
class DenseBCELoss(nn.Module):
    """Binary cross-entropy of every class at every pixel.

    The loss is averaged over images, classes and pixels. It equals
    ``F.binary_cross_entropy_with_logits`` with one-hot labels. The loss of a
    logit x with target t (0 or 1) is ``softplus(x) - x * t``. The second term
    is 0 except for the labelled class, so no one-hot tensor is needed. Ignored
    pixels are negatives of every class, as in CAT-Seg.

    Args:
        loss_weight (float): Factor of the loss.
        loss_name (str): Key of the loss in the log.
    """

    def __init__(
        self, loss_weight: float = 1.0, loss_name: str = 'loss_bce'
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
        # The two terms are almost equal where the model is confident: half
        # precision has too few digits for their difference.
        logits = logits.float()
        valid = labels != ignore_index
        index = labels.where(valid, labels.new_zeros(()))
        value = _BinaryCrossEntropy.apply(logits, index[:, None], valid)
        return self.loss_weight * value


class _BinaryCrossEntropy(torch.autograd.Function):
    """Binary cross-entropy whose backward pass needs little memory.

    The backward pass allocates one tensor of the size of the logits instead of
    three. Arguments are logits, (B, T, H, W); labels, (B, 1, H, W) int64; and
    a mask that is False at ignored pixels, (B, H, W) bool.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, index: Tensor, valid: Tensor
    ) -> Tensor:
        ctx.save_for_backward(logits, index, valid)
        negatives = F.softplus(logits).mean()
        labelled = logits.gather(1, index)[:, 0]
        return negatives - (labelled * valid).sum() / logits.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        logits, index, valid = ctx.saved_tensors
        change = logits.sigmoid()
        change.scatter_add_(1, index, -valid[:, None].to(change))
        return change.mul_(gradient / logits.numel()), None, None
