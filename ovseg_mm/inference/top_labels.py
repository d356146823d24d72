# SPDX-License-Identifier: Apache-2.0
"""The k best labels of every pixel, collected one label at a time.

Letters: k best labels, H, W height and width in pixels.
"""

import torch
from torch import Tensor


class TopLabels:
    """Scores and labels of the k best labels of every pixel.

    Of labels with equal scores, the first one added comes first.

    Args:
        count (int): Number k of labels to keep.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.scores: Tensor | None = None
        """Highest k scores, (k, H, W), in descending order. None: no label
        has been added yet."""
        self.labels: Tensor | None = None
        """Labels with these scores, (k, H, W) int64."""
        self._known: set[int] = set()

    def add(self, score: Tensor, label: int) -> None:
        """Add the scores of a label.

        A label may be added several times, because several class texts can
        belong to it. Its highest score at each pixel counts.

        Args:
            score (Tensor): Scores of the label at each pixel, (H, W).
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
        """Remove a label from the best labels.

        The caller adds the label again with the scores that are returned.

        Args:
            score (Tensor): New scores of the label, (H, W).
            label (int): The label.

        Returns:
            Tensor: Scores of the label, (H, W): at each pixel, the larger of
            the new score and the removed score.
        """
        assert self.scores is not None and self.labels is not None
        mine = self.labels == label
        former = self.scores.masked_fill(~mine, -torch.inf).amax(dim=0)
        rest = self.scores.masked_fill(mine, -torch.inf)
        self.scores, order = rest.sort(dim=0, descending=True, stable=True)
        self.labels = self.labels.gather(0, order)
        return torch.maximum(score, former)
