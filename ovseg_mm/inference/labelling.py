# SPDX-License-Identifier: Apache-2.0
"""Labels of pixels from the scores of class texts.

Letters: T class texts, t class texts in one slice of these T texts, L labels,
k best labels of a pixel, H, W height and width in pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .postprocess import Highest, argmax_labels, class_parts, label_scores
from .top_labels import TopLabels


@dataclass(frozen=True)
class Labelling:
    """Rule that turns the scores of class texts into labels of pixels.

    A pixel gets the label of the text with the highest score. Several class
    texts may belong to one label.

    If ``scale`` is set, scores become probabilities by a softmax of
    ``scale * score`` over all texts. The probability of a label is the
    highest probability of its texts. As a result, the probabilities of all
    labels may sum to less than 1.

    Args:
        prompt_to_label (Sequence[int]): Label of each of the T class texts. A
            value outside [0, L) means that the text belongs to no label.
            Pixels where such a text has the highest score get this value.
        num_labels (int): Number of labels L.
        ignore_label (int): Value of pixels without a label.
        threshold (float, optional): Pixels whose highest score is at or below
            the threshold become background. Not used if ``scale`` is set.
        scale (float, optional): Factor of the scores in the softmax.
        least_prob (float): Pixels whose highest probability is below this
            value become background. Used only if ``scale`` is set.
        least_area (float, optional): Share of the foreground, in [0, 1]. The
            foreground is all pixels with a label that is not the background.
            A label whose share is at or below ``least_area`` is removed, and
            its pixels get the best of the other labels. Used only if ``scale``
            is set.
        background (int, optional): Label of the background. None: pixels that
            would become background get ``ignore_label``.
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
        """Compute the label of each pixel, a few class texts at a time.

        Args:
            scores_of (Callable): Function that takes a slice of the T texts
                and returns the scores of these t texts, (t, H, W). If
                ``least_area`` is set, it may be called twice for each text.

        Returns:
            Tensor: Labels in [0, L) or ``ignore_label``, (H, W) int64.
        """
        return self._label(scores_of, scores_of)[0]

    def labels_and_top(
        self, scores_of: Callable[[slice], Tensor], count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the label, and the k best labels, of each pixel.

        Args:
            scores_of (Callable): Function that takes a slice of the T texts
                and returns the scores of these t texts, (t, H, W). If
                ``least_area`` is set, it may be called three times for each
                text.
            count (int): Number k of best labels per pixel. If there are fewer
                than k labels, all labels are returned.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Labels as in :meth:`labels`, (H, W)
            int64; the k highest values of :meth:`probabilities` at each pixel,
            (k, H, W) float32, highest first; and the labels of these values,
            (k, H, W) int64.
        """
        tops = TopLabels(min(count, self.num_labels))

        def collected(texts: slice) -> Tensor:
            scores = scores_of(texts)
            self._collect(tops, texts, scores)
            return scores

        labels, total, small = self._label(collected, scores_of)
        if small is not None and small[: self.num_labels].any():
            # Removed labels get a probability of 0 and are ranked last.
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
        """Compute the probabilities of the labels, or their scores.

        Args:
            scores (Tensor): Scores of all class texts, (T, H, W).

        Returns:
            Tensor: Values of the labels, (L, H, W). If ``scale`` is set, they
            are probabilities; labels that ``least_area`` removes get 0. If
            ``scale`` is None, they are the highest scores of the texts of
            each label.
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
        small = self.small_labels(winners) if self.scale is not None else None
        if small is not None:
            merged = merged.masked_fill(
                small[: self.num_labels, None, None], 0
            )
        return merged

    def labels_of(self, probabilities: Tensor) -> Tensor:
        """Compute labels from the mean of several :meth:`probabilities`.

        Args:
            probabilities (Tensor): Mean over several views of an image, such
                as flipped ones, (L, H, W).

        Returns:
            Tensor: Labels, (H, W) int64. Texts that belong to no label have
            no entry in ``probabilities``. If there are such texts and
            ``scale`` is set, pixels whose highest mean is below 0.5 get
            ``ignore_label``: there, such a text may have a higher mean.
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
        """Compute the label of each pixel, and which labels are removed.

        Args:
            first (Callable): Function that takes a slice of the T texts and
                returns the scores of these t texts, (t, H, W). Used in the
                first pass over all texts.
            scores_of (Callable): Function with the same arguments and result.
                Used in a second pass if ``least_area`` removes labels.

        Returns:
            tuple[Tensor, Tensor | None, Tensor | None]: Three values:

            - labels, (H, W) int64;
            - log-sum-exp of the scaled scores of all texts, (H, W); None if
              ``scale`` is not set;
            - mask from :meth:`small_labels`, True for removed labels; None if
              ``scale`` or ``least_area`` is not set.
        """
        if self.scale is None:
            table = torch.tensor(self.prompt_to_label)
            labels = argmax_labels(first, table, self.threshold, self._rest)
            return labels, None, None
        best, labels, total = self._best(first)
        small = self.small_labels(labels)
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
        """Update the best labels with the scores of a slice of the texts.

        Args:
            tops (TopLabels): Best labels so far; changed in place.
            texts (slice): Slice that selects t of the T texts.
            scores (Tensor): Scores of these texts, (t, H, W).
            removed (Tensor, optional): Mask from :meth:`small_labels`. Scores
                of removed labels are replaced by the lowest number of their
                dtype.
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
        """Find the highest score, its label and the log-sum-exp.

        Args:
            scores_of (Callable): Function that takes a slice of the T texts
                and returns the scores of these t texts, (t, H, W).
            left_out (Tensor, optional): Mask from :meth:`small_labels`. The
                texts of these labels are left out of the maximum, but not of
                the softmax.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Highest scores, their labels
            (int64), and the log-sum-exp of the scaled scores of all texts,
            (H, W) each.
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

    def small_labels(self, labels: Tensor) -> Tensor | None:
        """Find the labels that ``least_area`` removes.

        Args:
            labels (Tensor): Label map, (H, W) int64.

        Returns:
            Tensor, optional: True for labels that are removed,
            (``ignore_label + 1``,) bool, so that each value of ``labels`` is
            an index. None if ``least_area`` is not set.
        """
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
        """Label pixels as background where ``probability < least_prob``."""
        return labels.masked_fill(probability < self.least_prob, self._rest)

    @property
    def _rest(self) -> int:
        """Value of pixels that become background."""
        if self.background is None:
            return self.ignore_label
        return self.background
