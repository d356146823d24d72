# SPDX-License-Identifier: Apache-2.0
"""Labels from logits, with the scores of all class texts in memory.

Letters: V views (the windows, and optionally the whole image), T class texts,
H x W pixels of the image, h x w positions of a view's logits.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ovseg_mm.inference import Labelling
from ovseg_mm.inference.windows import unpadded, window_counts
from ovseg_mm.structures import ViewLayout


def labels(
    labelling: Labelling, scores_of: Callable[[slice], Tensor]
) -> Tensor:
    """Compute the label of each pixel from the scores of all class texts.

    Args:
        labelling (Labelling): Rule that turns scores into labels.
        scores_of (Callable): Function that returns the scores of a slice of
            the class texts. It is called once, for all texts, and returns (T,
            H, W).

    Returns:
        Tensor: Label map, (H, W) int64.
    """
    scores = scores_of(slice(None))
    table = torch.tensor(labelling.prompt_to_label, device=scores.device)
    rest = labelling.background
    if rest is None:
        rest = labelling.ignore_label
    if labelling.scale is None:
        found = table[scores.argmax(dim=0)]
        if labelling.threshold is not None:
            found[scores.amax(dim=0) <= labelling.threshold] = rest
        return found
    scores = (labelling.scale * scores.float()).softmax(dim=0)
    best, index = scores.max(dim=0)
    small = labelling.small_labels(table[index])
    if small is not None:
        scores[small[table]] = -1
        best, index = scores.max(dim=0)
    return table[index].masked_fill(best < labelling.least_prob, rest)


def fuse_views(
    logits: Tensor,
    layout: ViewLayout,
    activate: Callable[[Tensor], Tensor],
    score_size: Any = None,
) -> Tensor:
    """Fuse the logits of the views of an image into scores.

    As in MMSegmentation, the scores of each window are padded to the size of
    the image and added.

    Args:
        logits (Tensor): Logits of the views, (V, T, h, w).
        layout (ViewLayout): Positions of the views in the image.
        activate (Callable): Function that turns logits into scores of the same
            shape; may overwrite the logits.
        score_size (tuple[int, int] | str, optional): Size to which logits are
            resized before the activation, see
            :func:`ovseg_mm.inference.fuse_views`.

    Returns:
        Tensor: Scores of the image, (T, H, W); or (T, h, w) if there are no
        windows and ``score_size`` is None.
    """
    window = layout.window or layout.size
    if layout.window is None and score_size is None:
        return activate(logits[0].clone())
    if score_size in (None, 'input'):
        score_size = window
    if any(layout.padding):
        logits = torch.stack([unpadded(view, layout) for view in logits])
    logits = resize(logits, score_size)
    scores = torch.stack([activate(view) for view in logits])
    scores = resize(scores, window)
    if layout.window is None:
        return scores[0]
    height, width = (max(s, w) for s, w in zip(layout.size, window))
    fused = scores.new_zeros(scores.shape[1], height, width)
    for view, (top, left) in zip(scores, layout.corners):
        right, bottom = width - left - window[1], height - top - window[0]
        fused += F.pad(view, (left, right, top, bottom))
    fused = fused / window_counts(layout, fused[0])
    fused = fused[:, : layout.size[0], : layout.size[1]]
    if layout.global_view:
        fused = (fused + resize(scores[-1:], layout.size)[0]) / 2
    return fused


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (V, T, h, w) bilinearly, even if they have this size."""
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=False)


def penalise_seen(scores: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Subtract a penalty from the scores of class texts seen in training.

    Args:
        scores (Tensor): Scores, (T, H, W); overwritten.
        seen (Tensor): True for class texts that training has seen, (T,) bool.
        penalty (float): Value to subtract.

    Returns:
        Tensor: The overwritten ``scores``.
    """
    scores[seen] = scores[seen] - penalty
    return scores
