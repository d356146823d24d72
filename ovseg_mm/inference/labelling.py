# SPDX-License-Identifier: Apache-2.0
"""From fused scores of class texts to labels.

Letters: T class texts, L labels, H, W pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .postprocess import Highest, argmax_labels, class_parts, label_scores
from .top_labels import TopLabels


@dataclass(frozen=True)
class Labelling:
    """Rule that turns scores of an image into labels.

    Without ``scale``, a pixel gets the label of the text with the best score.
    With ``scale``, scores first become probabilities: the softmax of
    ``scale * score`` over all texts. A label has the probability of its best
    text, so the probabilities of all labels may sum to less than 1.

    Args:
        prompt_to_label (Sequence[int]): Label of each of the T texts. Texts
            with a value outside [0, L) compete with the others, but pixels
            that they win stay unlabelled.
        num_labels (int): L.
        ignore_label (int): Value of unlabelled pixels.
        threshold (float, optional): Pixels whose best score is not above it
            get the background, or stay unlabelled if there is none. Only
            without ``scale``.
        scale (float, optional): See above.
        least_prob (float): Pixels whose best probability is below it get the
            background, or stay unlabelled if there is none.
        least_area (float, optional): Share of the pixels that have a label
            other than the background. A label with at most this share is
            removed from the image: its pixels get the best other label.
        background (int, optional): Label of the background.
    """

    prompt_to_label: Sequence[int]
    num_labels: int
    ignore_label: int = 255
    threshold: float | None = None
    scale: float | None = None
    least_prob: float = 0.0
    least_area: float | None = None
    background: int | None = None

    def labels(self, scores_of: Callable[[slice], Tensor]) -> Tensor:
        """Labels, with only a few texts' scores in memory at a time.

        Args:
            scores_of (Callable): Gives the scores (t, H, W) of a slice of the
                texts; with ``least_area`` it may be called twice for each.

        Returns:
            Tensor: (H, W) int64 in [0, L), or ``ignore_label``.
        """
        return self._label(scores_of, scores_of)[0]

    def labels_and_top(
        self, scores_of: Callable[[slice], Tensor], count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Labels, and the labels with the best scores at every pixel.

        Args:
            scores_of (Callable): See :meth:`labels`. With ``least_area`` it
                may be called three times for each slice, otherwise once.
            count (int): Number k of best labels per pixel; at most L are
                returned.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Labels, as :meth:`labels` returns
            them, (H, W) int64; the k best scores of each pixel, as
            :meth:`probabilities` computes them, (k, H, W) float32, best
            first; and the labels that have these scores, (k, H, W) int64.
        """
        tops = TopLabels(min(count, self.num_labels))

        def collected(texts: slice) -> Tensor:
            scores = scores_of(texts)
            self._collect(tops, texts, scores)
            return scores

        labels, total, small = self._label(collected, scores_of)
        if small is not None and small[: self.num_labels].any():
            # Removed labels have a probability of 0, others move up.
            tops = TopLabels(min(count, self.num_labels))
            for texts, part in class_parts(
                scores_of, len(self.prompt_to_label)
            ):
                self._collect(tops, texts, part, small)
        assert tops.scores is not None and tops.labels is not None
        scores = tops.scores
        if self.scale is not None and total is not None:
            scores = (self.scale * scores - total).exp_()
        return labels, scores, tops.labels

    def probabilities(self, scores: Tensor) -> Tensor:
        """Scores of labels.

        Args:
            scores (Tensor): Scores of all texts, (T, H, W).

        Returns:
            Tensor: (L, H, W). With ``scale``, probabilities, 0 for labels that
            are removed; otherwise the best score of each label's texts.
        """
        if self.scale is not None:
            scores = (self.scale * scores.float()).softmax(dim=0)
        # Labels can be removed only when it is known which text wins.
        winners = self._table(scores.device)[scores.argmax(dim=0)]
        named = [label for label in self.prompt_to_label if self._named(label)]
        if len(named) < len(self.prompt_to_label):
            kept = [self._named(label) for label in self.prompt_to_label]
            scores = scores[torch.tensor(kept, device=scores.device)]
        merged = label_scores(scores, named, self.num_labels)
        small = self._small(winners) if self.scale is not None else None
        if small is not None:
            merged = merged.masked_fill(
                small[: self.num_labels, None, None], 0
            )
        return merged

    def labels_of(self, probabilities: Tensor) -> Tensor:
        """Labels of the mean of several maps of :meth:`probabilities`.

        Args:
            probabilities (Tensor): Mean probabilities, (L, H, W).

        Returns:
            Tensor: (H, W) int64. If some texts belong to no label, a pixel
            gets a label only with a probability of at least 0.5.
        """
        best, labels = probabilities.max(dim=0)
        if self.scale is None:
            if self.threshold is not None:
                labels[best <= self.threshold] = self._rest
            return labels
        if not all(map(self._named, self.prompt_to_label)):
            labels[best < 0.5] = self.ignore_label
        return self._without_unsure(labels, best)

    def _named(self, label: int) -> bool:
        return 0 <= label < self.num_labels

    def _table(self, device: torch.device) -> Tensor:
        return torch.tensor(self.prompt_to_label, device=device)

    def _label(
        self,
        first: Callable[[slice], Tensor],
        scores_of: Callable[[slice], Tensor],
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Labels; with ``scale``, also the softmax's sums and small labels.

        Args:
            first (Callable): Gives the scores of a slice of the texts in the
                first pass over all texts.
            scores_of (Callable): The same for a second pass, which is needed
                if labels are removed for their area.

        Returns:
            tuple[Tensor, Tensor | None, Tensor | None]: Labels, (H, W); the
            logarithm of the sum of the softmax, (H, W); whether each label
            is removed, bool.
        """
        if self.scale is None:
            table = torch.tensor(self.prompt_to_label)
            labels = argmax_labels(first, table, self.threshold, self._rest)
            return labels, None, None
        best, labels, total = self._best(first)
        small = self._small(labels)
        if small is not None and small[labels].any():
            best, labels, _ = self._best(scores_of, small)
        probability = (self.scale * best - total).exp_()
        return self._without_unsure(labels, probability), total, small

    def _collect(
        self,
        tops: TopLabels,
        texts: slice,
        scores: Tensor,
        removed: Tensor | None = None,
    ) -> None:
        """Add the scores (t, H, W) of a slice of the texts to the best ones.

        Args:
            tops (TopLabels): Best labels so far.
            texts (slice): The texts.
            scores (Tensor): Their scores, (t, H, W).
            removed (Tensor, optional): Whether each label is removed, bool.
        """
        table = self.prompt_to_label[texts]
        for label in dict.fromkeys(filter(self._named, table)):
            mine = [i for i, other in enumerate(table) if other == label]
            best = scores[mine].float().amax(dim=0)
            if removed is not None and removed[label]:
                best = best.fill_(torch.finfo(best.dtype).min)
            tops.add(best, label)

    def _best(
        self,
        scores_of: Callable[[slice], Tensor],
        left_out: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Best score, its label, and the log of the sum of the softmax.

        Args:
            scores_of (Callable): See :meth:`labels`.
            left_out (Tensor, optional): Which labels cannot win, (L,) bool.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Best scores, labels (int64) and
            logs, (H, W) each.
        """
        assert self.scale is not None, 'without it there is no softmax'
        highest = Highest()
        total: Tensor | None = None
        for texts, part in class_parts(scores_of, len(self.prompt_to_label)):
            scores = part.float()
            logsum = (self.scale * scores).logsumexp(dim=0)
            if total is None:
                total = logsum
            else:
                torch.logaddexp(total, logsum, out=total)
            table = self._table(scores.device)[texts]
            if left_out is not None:
                scores = scores.masked_fill(
                    left_out[table][:, None, None], -torch.inf
                )
            highest.update(scores, table)
        assert total is not None, 'there is at least one text'
        return highest.scores, highest.labels, total

    def _small(self, labels: Tensor) -> Tensor | None:
        """Whether to remove each label, bool; None without ``least_area``."""
        if self.least_area is None:
            return None
        counts = labels.flatten().bincount(minlength=self.ignore_label + 1)
        foreground = torch.arange(len(counts), device=labels.device)
        foreground = foreground < self.num_labels
        if self.background is not None:
            foreground[self.background] = False
        total = counts[foreground].sum()
        # This includes labels that win no pixel: they may not get one now.
        return foreground & (counts <= self.least_area * total.double())

    def _without_unsure(self, labels: Tensor, probability: Tensor) -> Tensor:
        """Remove labels with a probability below ``least_prob``."""
        return labels.masked_fill(probability < self.least_prob, self._rest)

    @property
    def _rest(self) -> int:
        """Value of pixels without a label: background or ignore label."""
        if self.background is None:
            return self.ignore_label
        return self.background
