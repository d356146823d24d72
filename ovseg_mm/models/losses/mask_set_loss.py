# SPDX-License-Identifier: Apache-2.0
"""Losses of a set of mask proposals.

Letters: D supervised states, B images, Q queries, T class texts, N matched
pairs of a batch, P pixels or points, h, w positions of mask logits, H, W
pixels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_world_size
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.structures import MaskTargets
from ovseg_mm.utils.resize import resize

from ..utils import (
    HungarianMatcher,
    dice_losses,
    pixel_costs,
    sample_points,
    uncertain_points,
)


@MODELS.register_module()
class MaskSetLoss(nn.Module):
    """Class, mask and dice losses of proposals matched to targets.

    Each supervised state is matched by itself and has losses of its own; the
    names of all but the last end with the number of the state (``loss_ce_0``).

    - ``loss_ce``: cross-entropy over T + 1 classes of all queries; those
      without a target should be ``no object``, with a weight of their own.
    - ``loss_mask``: focal loss or binary cross-entropy of matched pairs,
      the mean over their pixels, summed and divided by the number of target
      masks (the mean over processes, at least 1).
    - ``loss_dice``: dice loss, summed and divided in the same way.

    Masks are compared at every pixel of the targets, or at ``num_points``
    points. Ignored pixels are outside of every mask.

    Args:
        class_weight (float): Weight of ``loss_ce``, in matching too.
        mask_weight (float): Weight of ``loss_mask``, in matching too.
        dice_weight (float): Weight of ``loss_dice``, in matching too.
        no_object_weight (float): Weight of queries without a target.
        mask_loss (str): ``'focal'`` or ``'bce'``.
        num_points (int, optional): Number of points. None: all pixels.
        oversample_ratio (float): See :func:`uncertain_points`.
        importance_ratio (float): See :func:`uncertain_points`.

    Attributes:
        rand (Callable): Gives uniform random numbers of a shape
            (``torch.rand``); replace it to repeat a run. It is called for
            the last state first, then for the others in order; for each
            state by the matcher, image by image, then by the mask losses.
    """

    def __init__(
        self,
        class_weight: float = 1.0,
        mask_weight: float = 20.0,
        dice_weight: float = 1.0,
        no_object_weight: float = 0.1,
        mask_loss: str = 'focal',
        num_points: int | None = None,
        oversample_ratio: float = 3.0,
        importance_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        if mask_loss not in ('focal', 'bce'):
            raise ValueError(
                f"mask_loss={mask_loss!r} is not 'focal' or 'bce'"
            )
        self.class_weight = class_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight
        self.no_object_weight = no_object_weight
        self.mask_loss = mask_loss
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_ratio = importance_ratio
        self.matcher = HungarianMatcher(
            class_weight, mask_weight, dice_weight, mask_loss, num_points
        )
        self.rand = torch.rand

    def forward(
        self,
        class_logits: Tensor,
        mask_logits: Tensor,
        targets: Sequence[MaskTargets],
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            class_logits (Tensor): Class logits, (D, B, Q, T + 1); the last
                class is ``no object``.
            mask_logits (Tensor): Mask logits, (D, B, Q, h, w).
            targets (Sequence[MaskTargets]): Targets of the B images, with
                masks (n, H, W) over the whole input that the logits cover.

        Returns:
            dict[str, Tensor]: Weighted losses by name.
        """
        class_logits, mask_logits = class_logits.float(), mask_logits.float()
        num_masks = class_logits.new_tensor(
            float(sum(len(target.labels) for target in targets))
        )
        if get_world_size() > 1:
            all_reduce(num_masks, op='mean')
        num_masks = num_masks.clamp(min=1)
        last = len(class_logits) - 1
        losses = {}
        for state in (last, *range(last)):
            suffix = '' if state == last else f'_{state}'
            logits, masks = class_logits[state], mask_logits[state]
            matches = [
                self.matcher(*prediction, self.rand)
                for prediction in zip(logits, masks, targets)
            ]
            mask, dice = self._mask_losses(masks, targets, matches)
            losses.update(
                {
                    f'loss_ce{suffix}': self._class_loss(
                        logits, targets, matches
                    ),
                    f'loss_mask{suffix}': self.mask_weight * mask / num_masks,
                    f'loss_dice{suffix}': self.dice_weight * dice / num_masks,
                }
            )
        return losses

    def _class_loss(
        self,
        logits: Tensor,
        targets: Sequence[MaskTargets],
        matches: Sequence[tuple[Tensor, Tensor]],
    ) -> Tensor:
        no_object = logits.shape[2] - 1
        labels = logits.new_full(logits.shape[:2], no_object, dtype=torch.long)
        for row, target, (queries, found) in zip(labels, targets, matches):
            row[queries] = target.labels[found]
        weights = logits.new_ones(logits.shape[2])
        weights[no_object] = self.no_object_weight
        loss = F.cross_entropy(logits.transpose(1, 2), labels, weights)
        return self.class_weight * loss

    def _mask_losses(
        self,
        masks: Tensor,
        targets: Sequence[MaskTargets],
        matches: Sequence[tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor]:
        """Mask and dice losses, summed over the N matched pairs."""
        logits = torch.cat(
            [mask[queries] for mask, (queries, _) in zip(masks, matches)]
        )
        wanted = torch.cat(
            [
                target.masks[found]
                for target, (_, found) in zip(targets, matches)
            ]
        ).float()
        if self.num_points is None:
            height, width = wanted.shape[1:]
            logits = resize(logits[:, None], (height, width)).flatten(1)
            wanted = wanted.flatten(1)
        else:
            points = uncertain_points(
                logits,
                self.num_points,
                self.rand,
                self.oversample_ratio,
                self.importance_ratio,
            )
            logits = sample_points(logits, points)
            wanted = sample_points(wanted, points)
        inside, outside = pixel_costs(logits, self.mask_loss)
        pixels = wanted * inside + (1 - wanted) * outside
        dice = dice_losses(logits.sigmoid(), wanted)
        return pixels.mean(dim=1).sum(), dice.sum()
