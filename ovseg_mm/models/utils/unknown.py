# SPDX-License-Identifier: Apache-2.0
"""Pseudo labels of unseen classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ovseg_mm.vocabulary.unknown import UNKNOWN


def fill_unknown(
    labels: Tensor, logits: Tensor, unseen: Sequence[int]
) -> Tensor:
    """Replace ``UNKNOWN`` labels by the unseen class with the highest logit.

    Args:
        labels (Tensor): Label maps of B images, (B, H, W) int64, with
            ``UNKNOWN`` at pixels that need a pseudo label.
        logits (Tensor): Logits of T class texts, (B, T, H, W). They get no
            gradients.
        unseen (Sequence[int]): Labels of the unseen classes.

    Returns:
        Tensor: Label maps without ``UNKNOWN``, (B, H, W) int64. If ``unseen``
        is empty, ``labels`` is returned.
    """
    if not len(unseen):
        return labels
    candidates = torch.tensor(unseen, device=labels.device)
    best = candidates[logits.detach()[:, candidates].argmax(dim=1)]
    return torch.where(labels == UNKNOWN, best, labels)
