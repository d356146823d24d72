# SPDX-License-Identifier: Apache-2.0
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class DenseBCELoss(nn.Module):
    """Binary cross-entropy of every class at every pixel.

    Equal to the mean over all B * T * H * W elements of the binary
    cross-entropy between logits and one-hot labels, without making the
    one-hot tensor: for ``softplus(x) - x * t`` the logit of the labelled class
    is enough. Ignored pixels count as negatives of every class, as in CAT-Seg.

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
            logits (Tensor): Class logits, (B, T, H, W).
            labels (Tensor): Label maps, (B, H, W) int64 in [0, T) or
                ``ignore_index``.
            ignore_index (int): Label of pixels without a class.

        Returns:
            Tensor: Scalar.
        """
        # The two terms are almost equal where the model is confident: half
        # precision has too few digits for their difference.
        logits = logits.float()
        negatives = F.softplus(logits).mean()
        valid = labels != ignore_index
        index = labels.where(valid, labels.new_zeros(()))
        labelled = logits.gather(1, index[:, None])[:, 0]
        positives = (labelled * valid).sum() / logits.numel()
        return self.loss_weight * (negatives - positives)
