# SPDX-License-Identifier: Apache-2.0
"""Labels from scores of class texts, computed for a few texts at a time.

Letters: T class texts, t class texts in one slice of these T texts, L labels,
H, W height and width in pixels.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

# Largest number of class texts, and of scores, in one slice. For large images,
# a slice has one text.
CLASSES_AT_A_TIME = 32
SCORES_AT_A_TIME = 1 << 20


def class_parts(
    scores_of: Callable[[slice], Tensor], num_texts: int
) -> Iterator[tuple[slice, Tensor]]:
    """Iterate over the scores of all class texts, a few texts at a time.

    The function cuts the T texts into slices that do not overlap. A slice has
    at most :data:`CLASSES_AT_A_TIME` texts and at most
    :data:`SCORES_AT_A_TIME` scores. If one text alone has more scores, the
    slice has only this text. The first slice has one text, because the number
    of scores per text is not known at the beginning.

    Args:
        scores_of (Callable): Function that takes a slice of the T texts and
            returns the scores of these t texts, (t, H, W).
        num_texts (int): Number T of class texts.

    Yields:
        tuple[slice, Tensor]: Slice of the texts, and their scores, (t, H, W).
    """
    start, stop = 0, 1
    while start < num_texts:
        scores = scores_of(slice(start, stop)).detach()
        yield slice(start, stop), scores
        fitting = max(SCORES_AT_A_TIME // max(scores[0].numel(), 1), 1)
        del scores  # its memory is free for the next part
        start = stop
        block = (start // CLASSES_AT_A_TIME + 1) * CLASSES_AT_A_TIME
        stop = min(start + fitting, block, num_texts)


def argmax_labels(
    scores_of: Callable[[slice], Tensor],
    prompt_to_label: Tensor,
    threshold: float | None = None,
    ignore_label: int = 255,
) -> Tensor:
    """Label of the class text with the highest score at every pixel.

    The result equals the argmax over all scores; of equal scores, the first
    wins. The function needs 13 bytes per pixel, and memory for the scores of
    the few texts that :func:`class_parts` yields at a time. This memory does
    not depend on the number of all texts.

    Args:
        scores_of (Callable): Function that takes a slice of the T texts and
            returns the scores of these t texts, (t, H, W).
        prompt_to_label (Tensor): Label of each text, (T,) int64.
        threshold (float, optional): Pixels whose highest score is at or below
            the threshold get ``ignore_label``.
        ignore_label (int): Value of pixels that the threshold excludes.

    Returns:
        Tensor: Labels, (H, W) int64.
    """
    highest = Highest()
    for classes, scores in class_parts(scores_of, len(prompt_to_label)):
        highest.update(scores, prompt_to_label[classes].to(scores.device))
    if threshold is not None:
        highest.labels[highest.scores <= threshold] = ignore_label
    return highest.labels


class Highest:
    """Highest score so far at every pixel, and the label with this score.

    :meth:`update` takes the scores of a few class texts at a time. Of equal
    scores, the first is kept.

    Attributes:
        scores (Tensor): Highest scores so far, (H, W), with the dtype of the
            scores in the first update.
        labels (Tensor): Labels with the highest scores, (H, W) int64.
    """

    scores: Tensor
    labels: Tensor

    def __init__(self) -> None:
        self._higher: Tensor | None = None

    def update(self, scores: Tensor, table: Tensor) -> None:
        """Update ``scores`` and ``labels`` with scores of more class texts.

        Args:
            scores (Tensor): Scores of t texts, (t, H, W).
            table (Tensor): Labels of these texts, (t,) int64.
        """
        candidates: Iterable[tuple[Tensor, Tensor]] = zip(scores, table)
        if scores.device.type != 'cpu':
            # Fewer operations, but the maximum over texts is slow on CPUs.
            top, index = scores.max(dim=0)
            candidates = [(top, table[index])]
        for top, labels in candidates:
            if self._higher is None:
                # A NaN counts as less than any score.
                self.scores = top.masked_fill(top.isnan(), -torch.inf)
                self.labels = labels.expand(top.shape).clone()
                self._higher = torch.empty_like(top, dtype=torch.bool)
                continue
            torch.gt(top, self.scores, out=self._higher)
            torch.where(self._higher, top, self.scores, out=self.scores)
            torch.where(self._higher, labels, self.labels, out=self.labels)


def label_scores(
    scores: Tensor, prompt_to_label: Sequence[int], num_labels: int
) -> Tensor:
    """Score of each label: the highest score of its class texts.

    Args:
        scores (Tensor): Scores of T class texts, (T, ...).
        prompt_to_label (Sequence[int]): Label of each text, in [0, L).
        num_labels (int): Number L of labels.

    Returns:
        Tensor: Scores of the labels, (L, ...); -inf for a label without text.
    """
    if list(prompt_to_label) == list(range(num_labels)):
        return scores
    index = torch.tensor(prompt_to_label, device=scores.device)
    out = scores.new_full((num_labels, *scores.shape[1:]), -torch.inf)
    index = index.view(-1, *[1] * (scores.ndim - 1))
    return out.scatter_reduce(0, index.expand_as(scores), scores, 'amax')
