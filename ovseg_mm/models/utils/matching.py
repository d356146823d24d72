# SPDX-License-Identifier: Apache-2.0
"""One-to-one assignment of mask proposals to the masks of an image.

Letters: Q queries, n target masks of an image, T class texts, P pixels or
points of a mask, h, w positions of a mask logit, H, W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ovseg_mm.structures import MaskTargets

from .points import RandomFunction, sample_points

# Lower than every finite cost of a query.
_CHEAPEST = -1e6


def mask_targets(label_map: Tensor, ignore_index: int) -> MaskTargets:
    """One binary mask for each class of a label map (H, W)."""
    labels = label_map.unique()
    labels = labels[labels != ignore_index]
    return MaskTargets(labels, label_map == labels[:, None, None])


def pixel_costs(
    logits: Tensor, kind: str, alpha: float = 0.25, gamma: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Cost of each pixel for a target inside, and for a target outside.

    Args:
        logits (Tensor): Of any shape.
        kind (str): ``'bce'``, binary cross-entropy, or ``'focal'``, the same
            times ``alpha * (1 - p) ** gamma``, where p is the probability of
            the target; outside, ``1 - alpha`` replaces ``alpha``.
        alpha (float): See ``kind``.
        gamma (float): See ``kind``.

    Returns:
        tuple[Tensor, Tensor]: Costs inside and outside, of the same shape.
    """
    inside, outside = F.softplus(-logits), F.softplus(logits)
    if kind == 'focal':
        probs = logits.sigmoid()
        inside = alpha * (1 - probs) ** gamma * inside
        outside = (1 - alpha) * probs**gamma * outside
    return inside, outside


def dice_losses(probs: Tensor, targets: Tensor) -> Tensor:
    """``1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1)`` of pairs.

    Args:
        probs (Tensor): Probabilities, (N, P) in [0, 1].
        targets (Tensor): Targets, (N, P) in [0, 1].

    Returns:
        Tensor: (N,).
    """
    overlap = (probs * targets).sum(dim=1)
    total = probs.sum(dim=1) + targets.sum(dim=1)
    return 1 - (2 * overlap + 1) / (total + 1)


class HungarianMatcher:
    """Cheapest assignment, by class probability and mask similarity.

    Args:
        class_weight (float): Weight of minus the probability of the class.
        mask_weight (float): Weight of the mean of :func:`pixel_costs`.
        dice_weight (float): Weight of the dice loss.
        mask_cost (str): Kind of :func:`pixel_costs`.
        num_points (int, optional): Random points at which masks are
            compared. None: at every position of the logits, to which targets
            are resized (nearest).
    """

    def __init__(
        self,
        class_weight: float,
        mask_weight: float,
        dice_weight: float,
        mask_cost: str,
        num_points: int | None = None,
    ) -> None:
        self.class_weight = class_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight
        self.mask_cost = mask_cost
        self.num_points = num_points

    @torch.no_grad()
    def __call__(
        self,
        class_logits: Tensor,
        mask_logits: Tensor,
        targets: MaskTargets,
        rand: RandomFunction,
    ) -> tuple[Tensor, Tensor]:
        """Match the queries of one image.

        Args:
            class_logits (Tensor): Class logits, (Q, T + 1); the last class
                is ``no object``.
            mask_logits (Tensor): Mask logits, (Q, h, w).
            targets (MaskTargets): Targets of the image, masks (n, H, W).
            rand (Callable): Uniform numbers for the points, see
                :mod:`ovseg_mm.models.utils.points`.

        Returns:
            tuple[Tensor, Tensor]: Indices of the matched queries, ascending,
            and indices of their targets, (min(Q, n),) int64 each. Queries
            whose cost is not finite are matched before all others, so that
            the loss shows the error.
        """
        from scipy.optimize import linear_sum_assignment

        cost = self.costs(class_logits, mask_logits, targets, rand)
        cost = torch.where(cost.isfinite(), cost, _CHEAPEST)
        device = cost.device
        queries, found = (
            torch.as_tensor(index, dtype=torch.long, device=device)
            for index in linear_sum_assignment(cost.cpu().numpy())
        )
        return queries, found

    def costs(
        self,
        class_logits: Tensor,
        mask_logits: Tensor,
        targets: MaskTargets,
        rand: RandomFunction,
    ) -> Tensor:
        """Cost of every pair, (Q, n); see :meth:`__call__`."""
        # Autocast would compute sums over all pixels in half precision, whose
        # range they exceed.
        with torch.autocast(mask_logits.device.type, enabled=False):
            return self._costs(
                class_logits.float(), mask_logits.float(), targets, rand
            )

    def _costs(
        self,
        class_logits: Tensor,
        mask_logits: Tensor,
        targets: MaskTargets,
        rand: RandomFunction,
    ) -> Tensor:
        if self.num_points is None:
            size = mask_logits.shape[1:]
            masks = F.interpolate(targets.masks[:, None].float(), size)
            logits, masks = mask_logits.flatten(1), masks.flatten(1)
        else:
            points = rand((1, self.num_points, 2)).to(mask_logits.device)
            logits = sample_points(mask_logits, points)
            masks = sample_points(targets.masks.float(), points)
        inside, outside = pixel_costs(logits, self.mask_cost)
        mask_cost = inside @ masks.t() + outside @ (1 - masks).t()
        probs = logits.sigmoid()
        overlap = probs @ masks.t()
        total = probs.sum(dim=1)[:, None] + masks.sum(dim=1)
        dice_cost = 1 - (2 * overlap + 1) / (total + 1)
        class_cost = -class_logits.softmax(dim=1)[:, targets.labels]
        return (
            self.mask_weight * mask_cost / logits.shape[1]
            + self.class_weight * class_cost
            + self.dice_weight * dice_cost
        )
