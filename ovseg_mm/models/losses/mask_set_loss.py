# SPDX-License-Identifier: Apache-2.0
"""Losses of a set of mask proposals.

Letters: D decoder outputs with a loss, B images, Q queries, T class texts, N
matched pairs of a batch, P pixels or points, h x w size of mask logits, H x W
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
    """Class, mask and dice losses of mask proposals, after matching.

    The Q proposals of an image are matched to its target masks one to one.
    Each of the D decoder outputs has its own matching and its own losses.
    The name of a loss ends with the index of the decoder output, such as
    ``loss_ce_0``. Losses of the last output have no index (``loss_ce``).

    - ``loss_ce``: cross-entropy of all proposals over T + 1 classes. The
      target of a proposal without a match is the last class, ``no object``.
    - ``loss_mask``: focal loss or binary cross-entropy of each matched pair,
      averaged over pixels. The sum over pairs is divided by the number of
      target masks of the batch. In distributed training, this number is
      averaged over the processes. It is at least 1.
    - ``loss_dice``: dice loss of each matched pair. The sum over pairs is
      divided by the same number.

    Masks are compared at every pixel of the targets, or at ``num_points``
    points. Ignored pixels are outside all target masks.

    Args:
        class_weight (float): Weight of ``loss_ce`` and of the class cost in
            matching.
        mask_weight (float): Weight of ``loss_mask`` and of the mask cost in
            matching.
        dice_weight (float): Weight of ``loss_dice`` and of the dice cost in
            matching.
        no_object_weight (float): Weight of ``no object`` in ``loss_ce``.
        mask_loss (str): ``'focal'`` or ``'bce'`` (binary cross-entropy).
        num_points (int, optional): Number of points at which masks are
            compared. None: masks are compared at all pixels.
        oversample_ratio (float): Number of random candidates for each point
            of the mask losses, see :func:`uncertain_points`.
        importance_ratio (float): Share of the points of the mask losses that
            are chosen from the candidates, the most uncertain first. The
            remaining points are drawn at random.

    Attributes:
        rand (Callable): Function ``rand(shape)`` that returns a tensor of
            uniform random numbers, ``torch.rand`` by default. Replace it to
            repeat the points of another run. The losses of the last decoder
            output are computed first, then the losses of the first output, of
            the second output and so on. For each output, the matcher calls
            ``rand`` once per image, then the mask losses call ``rand``.
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
                f"mask_loss={mask_loss!r} must be 'focal' or 'bce'"
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
            class_logits (Tensor): Class logits of D decoder outputs and Q
                proposals, (D, B, Q, T + 1); the last class is ``no object``.
            mask_logits (Tensor): Mask logits, (D, B, Q, h, w).
            targets (Sequence[MaskTargets]): Targets of the B images. Masks of
                H x W pixels cover the same area as mask logits of h x w.

        Returns:
            dict[str, Tensor]: Weighted losses by name, 3 * D scalars.
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
        """Mask loss and dice loss, each a sum over the N matched pairs."""
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
