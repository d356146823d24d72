# SPDX-License-Identifier: Apache-2.0
"""Pseudo labels of unseen classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ovseg_mm.vocabulary.unknown import UNKNOWN


def fill_unknown(
    labels: Tensor, logits: Tensor, unseen: Sequence[int]
) -> Tensor:
    """Replace ``UNKNOWN`` by the unseen class with the highest logit.

    Args:
        labels (Tensor): Label maps, (B, H, W) int64; ``UNKNOWN`` where a
            pseudo label is wanted.
        logits (Tensor): Class logits, (B, T, H, W); no gradient flows back.
        unseen (Sequence[int]): Classes that are candidates.

    Returns:
        Tensor: (B, H, W) int64 without ``UNKNOWN``.
    """
    if not len(unseen):
        return labels
    candidates = torch.tensor(unseen, device=labels.device)
    best = candidates[logits.detach()[:, candidates].argmax(dim=1)]
    return torch.where(labels == UNKNOWN, best, labels)
