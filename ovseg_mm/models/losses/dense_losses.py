# SPDX-License-Identifier: Apache-2.0
"""Losses of heads that predict class logits at each pixel.

Letters: B images, T class texts, H x W pixels.
"""

from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from typing import Any

from mmseg.models.losses import FocalLoss
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.utils.errors import InputError


def build_losses(cfg: Mapping | Sequence[Mapping]) -> nn.Module:
    """Build the losses of a head from its ``loss_decode`` config.

    Args:
        cfg (Mapping | Sequence[Mapping]): Config of one loss, or a list of
            such configs.

    Returns:
        nn.Module: The loss; for a list, a ``ModuleList`` of the losses.
    """
    if isinstance(cfg, Mapping):
        return MODELS.build(cfg)
    return nn.ModuleList(map(MODELS.build, cfg))


def dense_losses(
    loss_decode: nn.Module, logits: Tensor, labels: Tensor, ignore_index: int
) -> dict[str, Tensor]:
    """Compute the losses of a head.

    Losses of this package and of MMSegmentation may be mixed.

    Args:
        loss_decode (nn.Module): One loss or a ``ModuleList`` of losses, from
            :func:`build_losses`.
        logits (Tensor): Logits of T class texts, (B, T, H, W).
        labels (Tensor): Label maps, (B, H, W) int64; each label is in [0, T)
            or ``ignore_index``.
        ignore_index (int): Label of pixels without a class.

    Returns:
        dict[str, Tensor]: Losses by their ``loss_name``. Losses with the same
        name are summed.

    Raises:
        InputError: If a loss is MMSegmentation's ``FocalLoss`` and the logits
            are not on a GPU.
    """
    losses: Iterable[Any] = [loss_decode]
    if isinstance(loss_decode, nn.ModuleList):
        losses = loss_decode
    found: dict[str, Tensor] = {}
    for loss in losses:
        if isinstance(loss, FocalLoss) and not logits.is_cuda:
            # On CPUs, FocalLoss takes the wrong slice of the one-hot labels.
            raise InputError(
                "loss_decode is MMSegmentation's FocalLoss, which works only "
                f'on GPUs, but the logits are on {logits.device}; set '
                "loss_decode=dict(type='DenseFocalLoss')"
            )
        # Some losses store the ignored label in an attribute.
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
