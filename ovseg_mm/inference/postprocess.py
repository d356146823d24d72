# SPDX-License-Identifier: Apache-2.0
"""From scores of classes to a label map, a few classes at a time.

Letters: T class texts, t texts of a slice, L labels, H, W pixels.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

# Largest number of classes, and of their scores, in memory at full size; the
# scores of larger images are computed one class at a time.
CLASSES_AT_A_TIME = 32
SCORES_AT_A_TIME = 1 << 20


def class_parts(
    scores_of: Callable[[slice], Tensor], num_texts: int
) -> Iterator[tuple[slice, Tensor]]:
    """Go through the scores of all class texts, a few texts at a time.

    A part has at most :data:`CLASSES_AT_A_TIME` texts, all from one block of
    this length, and at most :data:`SCORES_AT_A_TIME` scores, but at least one
    text. The first part has one text, whose scores give the number of pixels.

    Args:
        scores_of (Callable): Gives the scores (t, H, W) of a slice of the
            texts; called once for each text.
        num_texts (int): T.

    Yields:
        tuple[slice, Tensor]: Some texts and their scores, (t, H, W).
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
    """Label of the class with the highest score at every pixel.

    Equal to the argmax over all scores (the first class wins a tie). Memory
    does not depend on T: 13 bytes per pixel for label, best score and a mask,
    and the scores of one part of :func:`class_parts`.

    Args:
        scores_of (Callable): Scores (t, H, W) of a slice of the classes.
        prompt_to_label (Tensor): Label of each class, (T,) int64.
        threshold (float, optional): Pixels whose best score is not above it
            get ``ignore_label``.
        ignore_label (int): See ``threshold``.

    Returns:
        Tensor: (H, W) int64.
    """
    highest = Highest()
    for classes, scores in class_parts(scores_of, len(prompt_to_label)):
        highest.update(scores, prompt_to_label[classes].to(scores.device))
    if threshold is not None:
        highest.labels[highest.scores <= threshold] = ignore_label
    return highest.labels


class Highest:
    """Highest score at every pixel, and the label that has this score.

    :meth:`update` is called with the scores of a few class texts at a time.
    Of equal scores, the first one is kept. The two maps are overwritten in
    place.

    Attributes:
        scores (Tensor): Highest scores so far, (H, W), of the dtype of the
            scores of the first call.
        labels (Tensor): Labels that have them, (H, W) int64.
    """

    scores: Tensor
    labels: Tensor

    def __init__(self) -> None:
        self._higher: Tensor | None = None

    def update(self, scores: Tensor, table: Tensor) -> None:
        """Compare the scores of more class texts.

        Args:
            scores (Tensor): Scores of the texts, (t, H, W).
            table (Tensor): Labels of these texts, (t,) int64.
        """
        if len(scores) == 1:
            top, labels = scores[0], table[0]
        else:
            top, index = scores.max(dim=0)
            labels = table[index]
        if self._higher is None:
            self.scores = top.clone()
            self.labels = labels.expand(top.shape).clone()
            self._higher = torch.empty_like(top, dtype=torch.bool)
        else:
            torch.gt(top, self.scores, out=self._higher)
            torch.fmax(top, self.scores, out=self.scores)
            torch.where(self._higher, labels, self.labels, out=self.labels)


def label_scores(
    scores: Tensor, prompt_to_label: Sequence[int], num_labels: int
) -> Tensor:
    """Score of each label, the highest one of its class texts.

    A label without a class text has the score -inf. Scores of class texts are
    (T, ...), scores of labels (L, ...).
    """
    if list(prompt_to_label) == list(range(num_labels)):
        return scores
    index = torch.tensor(prompt_to_label, device=scores.device)
    out = scores.new_full((num_labels, *scores.shape[1:]), -torch.inf)
    index = index.view(-1, *[1] * (scores.ndim - 1))
    return out.scatter_reduce(0, index.expand_as(scores), scores, 'amax')
