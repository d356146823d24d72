# SPDX-License-Identifier: Apache-2.0
"""Losses of logits and labels in dense heads.

Letters: B images, T class texts, H, W pixels.
"""

from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from typing import Any

from mmseg.models.losses import FocalLoss
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.utils.errors import InputError


def build_losses(cfg: Mapping | Sequence[Mapping]) -> nn.Module:
    """Build ``loss_decode`` of a head.

    Args:
        cfg (Mapping | Sequence[Mapping]): Config of a loss, or a list.

    Returns:
        nn.Module: The loss, or a ``ModuleList`` for a list.
    """
    if isinstance(cfg, Mapping):
        return MODELS.build(cfg)
    return nn.ModuleList(map(MODELS.build, cfg))


def dense_losses(
    loss_decode: nn.Module, logits: Tensor, labels: Tensor, ignore_index: int
) -> dict[str, Tensor]:
    """Compute the losses of a head, ours or MMSegmentation's.

    Args:
        loss_decode (nn.Module): Losses, from :func:`build_losses`.
        logits (Tensor): Class logits, (B, T, H, W).
        labels (Tensor): Label maps, (B, H, W) int64 in [0, T) or
            ``ignore_index``.
        ignore_index (int): Label of pixels without a class.

    Returns:
        dict[str, Tensor]: Losses by name; losses of the same name are added.

    Raises:
        InputError: For MMSegmentation's ``FocalLoss`` without a GPU.
    """
    losses: Iterable[Any] = [loss_decode]
    if isinstance(loss_decode, nn.ModuleList):
        losses = loss_decode
    found: dict[str, Tensor] = {}
    for loss in losses:
        if isinstance(loss, FocalLoss) and not logits.is_cuda:
            # On CPUs it takes the wrong slice of the one-hot labels.
            raise InputError(
                "MMSegmentation's FocalLoss works only on GPUs; use "
                "loss_decode=dict(type='DenseFocalLoss')"
            )
        # Some losses have the ignored label as an attribute.
        for name in ('ignore_index', 'ignore_label'):
            if hasattr(loss, name):
                setattr(loss, name, ignore_index)
        options = {}
        if any(
            name == 'ignore_index' or parameter.kind is parameter.VAR_KEYWORD
            for name, parameter in signature(loss.forward).parameters.items()
        ):
            options['ignore_index'] = ignore_index
        value = loss(logits, labels, **options)
        found[loss.loss_name] = found.get(loss.loss_name, 0) + value
    return found
