# SPDX-License-Identifier: Apache-2.0
"""The best labels of every pixel, collected one label at a time.

Letters: k best labels, H, W pixels.
"""

import torch
from torch import Tensor


class TopLabels:
    """Scores and labels of the k best labels of every pixel.

    If scores are equal, the label that was added first comes first.

    Args:
        count (int): k.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.scores: Tensor | None = None
        """(k, H, W), best first; None before the first label."""
        self.labels: Tensor | None = None
        """(k, H, W) int64."""
        self._known: set[int] = set()

    def add(self, score: Tensor, label: int) -> None:
        """Add a label.

        Args:
            score (Tensor): Its score, (H, W). If the label was added before,
                the higher score counts.
            label (int): The label.
        """
        if self.scores is None or self.labels is None:
            self.scores = score.new_full(
                (self.count, *score.shape), -torch.inf
            )
            self.labels = torch.zeros_like(self.scores, dtype=torch.int64)
        if label in self._known:
            score = self._taken_out(score, label)
        self._known.add(label)
        number = torch.full_like(self.labels[0], label)
        for rank in range(self.count):
            higher = score > self.scores[rank]
            best = torch.where(higher, score, self.scores[rank])
            score = torch.where(higher, self.scores[rank], score)
            self.scores[rank] = best
            better = torch.where(higher, number, self.labels[rank])
            number = torch.where(higher, self.labels[rank], number)
            self.labels[rank] = better

    def _taken_out(self, score: Tensor, label: int) -> Tensor:
        """Remove a label; return the higher of its old and new score."""
        assert self.scores is not None and self.labels is not None
        mine = self.labels == label
        former = self.scores.masked_fill(~mine, -torch.inf).amax(dim=0)
        rest = self.scores.masked_fill(mine, -torch.inf)
        self.scores, order = rest.sort(dim=0, descending=True, stable=True)
        self.labels = self.labels.gather(0, order)
        return torch.maximum(score, former)
