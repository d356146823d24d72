# SPDX-License-Identifier: Apache-2.0
"""From scores of classes to a label map, a few classes at a time.

Letters: T class texts, L labels, H, W pixels.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Classes whose full-size scores are held at a time.
CLASSES_AT_A_TIME = 32


def argmax_labels(
    scores_of: Callable[[slice], Tensor],
    prompt_to_label: Tensor,
    threshold: float | None = None,
    ignore_label: int = 255,
) -> Tensor:
    """Label of the class with the highest score at every pixel.

    Equal to the argmax over all scores (the first class wins a tie), but
    only a few classes' scores are in memory at a time.

    Args:
        scores_of (Callable): Scores (t, H, W) of a slice of the classes.
        prompt_to_label (Tensor): Label of each class, (T,) int64.
        threshold (float, optional): Pixels whose best score is not above it
            get ``ignore_label``.
        ignore_label (int): See ``threshold``.

    Returns:
        Tensor: (H, W) int64.
    """
    best: Tensor | None = None
    labels: Tensor | None = None
    for start in range(0, len(prompt_to_label), CLASSES_AT_A_TIME):
        scores = scores_of(slice(start, start + CLASSES_AT_A_TIME))
        top, index = scores.max(dim=0)
        index += start
        if best is None or labels is None:
            best, labels = top, index
        else:
            higher = top > best
            best = torch.where(higher, top, best)
            labels = torch.where(higher, index, labels)
    assert best is not None and labels is not None, 'there are no classes'
    labels = prompt_to_label.to(labels.device)[labels]
    if threshold is not None:
        labels[best <= threshold] = ignore_label
    return labels


def label_scores(
    scores: Tensor, prompt_to_label: Sequence[int], num_labels: int
) -> Tensor:
    """Scores of labels, the highest of their classes, (T, ...) to (L, ...).

    A label without a class has the score -inf.
    """
    if list(prompt_to_label) == list(range(num_labels)):
        return scores
    index = torch.tensor(prompt_to_label, device=scores.device)
    out = scores.new_full((num_labels, *scores.shape[1:]), -torch.inf)
    index = index.view(-1, *[1] * (scores.ndim - 1))
    return out.scatter_reduce(0, index.expand_as(scores), scores, 'amax')
