# SPDX-License-Identifier: Apache-2.0
"""One-to-one assignment of mask proposals to the target masks of an image.

Letters: Q queries (proposals), n target masks, T class texts, P pixels or
sampled points of a mask, h, w height and width of mask logits, H, W height
and width of the image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ovseg_mm.structures import MaskTargets

from .points import RandomFunction, sample_points

# Lower than every finite cost of a query.
_CHEAPEST = -1e6


def mask_targets(label_map: Tensor, ignore_index: int) -> MaskTargets:
    """Split a label map into one binary mask for each class in the map.

    Args:
        label_map (Tensor): Label map of an image, (H, W) int64.
        ignore_index (int): Label of ignored pixels, which gets no mask.

    Returns:
        MaskTargets: Labels and masks of the n classes in the map.
    """
    labels = label_map.unique()
    labels = labels[labels != ignore_index]
    return MaskTargets(labels, label_map == labels[:, None, None])


def pixel_costs(
    logits: Tensor, kind: str, alpha: float = 0.25, gamma: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Cost of each mask logit for the targets 1 and 0.

    Args:
        logits (Tensor): Mask logits of any shape.
        kind (str): ``'bce'`` for binary cross-entropy, or ``'focal'`` for the
            focal loss.
        alpha (float): Weight of target 1 in the focal loss. Target 0 has the
            weight ``1 - alpha``.
        gamma (float): Exponent of the focal loss.

    Returns:
        tuple[Tensor, Tensor]: Costs for target 1 (pixel inside the mask) and
        for target 0 (outside), in the shape of ``logits``.
    """
    inside, outside = F.softplus(-logits), F.softplus(logits)
    if kind == 'focal':
        probs = logits.sigmoid()
        inside = alpha * (1 - probs) ** gamma * inside
        outside = (1 - alpha) * probs**gamma * outside
    return inside, outside


def dice_losses(probs: Tensor, targets: Tensor) -> Tensor:
    """Dice losses, ``1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1)``.

    Args:
        probs (Tensor): Mask probabilities p of N masks at P points, (N, P).
        targets (Tensor): Targets t of these masks in [0, 1], (N, P).

    Returns:
        Tensor: Loss of each mask, (N,).
    """
    overlap = (probs * targets).sum(dim=1)
    total = probs.sum(dim=1) + targets.sum(dim=1)
    return 1 - (2 * overlap + 1) / (total + 1)


class HungarianMatcher:
    """Matches queries to targets so that the sum of the costs is minimal.

    The cost of a pair is a weighted sum of three costs: minus the class
    probability, the mean of :func:`pixel_costs`, and the dice loss.

    Args:
        class_weight (float): Weight of minus the class probability.
        mask_weight (float): Weight of the pixel costs.
        dice_weight (float): Weight of the dice loss.
        mask_cost (str): ``kind`` of :func:`pixel_costs`.
        num_points (int, optional): Number of random points at which masks are
            compared. None: masks are compared at all pixels of the mask
            logits, and target masks are resized to the size of the mask logits
            by nearest-neighbour interpolation.
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
        """Match the queries of one image to its targets.

        Queries whose cost is NaN or infinite are matched first. They make the
        loss NaN or infinite too, so that the error is noticed.

        Args:
            class_logits (Tensor): Logits of T class texts and, last, of
                "no object", (Q, T + 1).
            mask_logits (Tensor): Mask logits, (Q, h, w).
            targets (MaskTargets): Targets of the image: n labels and masks.
            rand (Callable): Function ``rand(shape)`` that returns uniform
                numbers in [0, 1), for random points.

        Returns:
            tuple[Tensor, Tensor]: Indices of the matched queries, ascending,
            and indices of their targets, (min(Q, n),) int64 each.
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
        """Cost of every pair of query and target, (Q, n).

        For the arguments, see :meth:`__call__`.
        """
        # Autocast would compute sums over all pixels in half precision, where
        # they overflow.
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
