# SPDX-License-Identifier: Apache-2.0
"""Windows of an image and the fusion of their scores.

Letters: V views (windows, then perhaps the whole image), T classes, H, W
pixels of the image, h, w size of a view's logits.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from ovseg_mm.structures import ViewLayout
from ovseg_mm.utils.resize import resize


def window_starts(size: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows along one axis, as in MMSegmentation.

    The last window is shifted to lie inside the image; an axis shorter than
    a window has one window, at 0.
    """
    count = max(size - window + stride - 1, 0) // stride + 1
    return [max(min(i * stride, size - window), 0) for i in range(count)]


def whole_view(img: Tensor) -> tuple[Tensor, ViewLayout]:
    """The image (3, H, W) as its only view (1, 3, H, W)."""
    height, width = img.shape[1:]
    return img[None], ViewLayout((height, width))


def sliding_views(
    img: Tensor,
    window: tuple[int, int],
    stride: tuple[int, int],
    canvas: tuple[int, int] | None = None,
    global_view: bool = False,
    fit: bool = False,
    divisor: int = 1,
) -> tuple[Tensor, ViewLayout]:
    """Cut an image into overlapping windows.

    Args:
        img (Tensor): Normalised image, (3, H, W).
        window (tuple[int, int]): Height and width of a window. A smaller
            image is padded with zeros on the right and at the bottom.
        stride (tuple[int, int]): Steps between windows.
        canvas (tuple[int, int], optional): Size that the image is resized to
            first; its aspect ratio may change. None: no resizing.
        global_view (bool): Whether the whole image, resized to a window, is
            an additional view.
        fit (bool): Whether windows shrink to the size of a smaller image, as
            in MMSegmentation, instead of padding it.
        divisor (int): Views are padded with zeros, half of them on each side,
            so that their sides are multiples of it; fusion cuts the scores
            of the padding away.

    Returns:
        tuple[Tensor, ViewLayout]: Views (V, 3, h, w), row by row and the
        whole image last, and where they lie.
    """
    whole = img[None]
    img = whole if canvas is None else resize(whole, canvas)
    size = (img.shape[2], img.shape[3])
    if fit:
        window = (min(window[0], size[0]), min(window[1], size[1]))
    bottom, right = (max(w - s, 0) for w, s in zip(window, size))
    if bottom or right:
        img = F.pad(img, (0, right, 0, bottom))
    corners = tuple(
        (top, left)
        for top in window_starts(size[0], window[0], stride[0])
        for left in window_starts(size[1], window[1], stride[1])
    )
    views = img.new_empty(len(corners) + global_view, 3, *window)
    for view, (top, left) in zip(views, corners):
        view.copy_(img[0, :, top : top + window[0], left : left + window[1]])
    if global_view:
        views[-1] = resize(whole, window)[0]
    left, right, top, bottom = (
        pad
        for side in reversed(window)
        for pad in ((-side % divisor) // 2, -(-(-side % divisor) // 2))
    )
    padding = (left, right, top, bottom)
    if any(padding):
        views = F.pad(views, padding)
    height, width = window
    return views, ViewLayout(
        size, (height, width), corners, global_view, padding
    )


def fuse_views(
    logits: Tensor,
    layout: ViewLayout,
    activate: Callable[[Tensor], Tensor],
    score_size: tuple[int, int] | str | None = None,
) -> Tensor:
    """Scores of an image from the logits of its views.

    Logits are resized to the window (bilinear), activated, and averaged over
    the windows that cover a pixel; the global view, activated at the size of
    a window and resized to the image, has half of the weight. The only view
    of :func:`whole_view` is activated without resizing.

    Args:
        logits (Tensor): Logits of the views, (V, T, h, w).
        layout (ViewLayout): Where the views lie.
        activate (Callable): Logits to scores; may write in place.
        score_size (tuple[int, int] | str, optional): Size at which logits of
            every view are activated instead; scores are then resized
            (bilinear) to the window or the image. ``'input'``: the size of
            the window or the image itself, as MMSegmentation resizes logits.

    Returns:
        Tensor: (T, H, W); (T, h, w) without windows and ``score_size``.
    """
    if score_size == 'input':
        score_size = layout.window or layout.size
    assert not isinstance(score_size, str), "the only string is 'input'"
    if layout.window is None and score_size is None:
        return activate(logits[0].clone())
    if layout.window is None:
        return _activated(logits[0], layout.size, activate, score_size)
    height, width = layout.window
    padded = [max(s, w) for s, w in zip(layout.size, layout.window)]
    scores = logits.new_zeros(logits.shape[1], *padded)
    for view, (top, left) in zip(logits, layout.corners):
        if any(layout.padding):
            view = _unpadded(view, layout)
        rows, cols = slice(top, top + height), slice(left, left + width)
        scores[:, rows, cols] += _activated(
            view, layout.window, activate, score_size
        )
    scores /= _window_counts(layout, scores[0])
    scores = scores[:, : layout.size[0], : layout.size[1]]
    if layout.global_view:
        whole = logits[-1]
        if any(layout.padding):
            whole = _unpadded(whole, layout)
        whole = _activated(whole, layout.window, activate, score_size)
        scores = (scores + resize(whole[None], layout.size)[0]).div_(2)
    return scores


def _activated(
    view: Tensor,
    size: tuple[int, int],
    activate: Callable[[Tensor], Tensor],
    score_size: tuple[int, int] | None,
) -> Tensor:
    """Logits (T, h, w) to scores (T, *size)."""
    height, width = score_size or size
    wanted = (height, width)
    # Resizing made a new tensor, which may be overwritten.
    if tuple(view.shape[1:]) == wanted:
        resized = view.clone()
    else:
        resized = resize(view[None], wanted)[0]
    return resize(activate(resized)[None], size)[0]


def _window_counts(layout: ViewLayout, like: Tensor) -> Tensor:
    """Number (H, W) of windows that cover each pixel, dtype of ``like``."""
    assert layout.window is not None, 'without windows nothing is counted'
    covered = []
    # Windows form a grid, so rows and columns can be counted separately.
    for axis, side in enumerate(layout.window):
        count = like.new_zeros(like.shape[axis])
        for start in {corner[axis] for corner in layout.corners}:
            count[start : start + side] += 1
        covered.append(count)
    return covered[0][:, None] * covered[1]


def _unpadded(view: Tensor, layout: ViewLayout) -> Tensor:
    """Logits (T, h, w) of a padded view at the size of its window."""
    assert layout.window is not None, 'only windows are padded'
    height, width = layout.window
    left, right, top, bottom = layout.padding
    view = resize(view[None], (height + top + bottom, width + left + right))
    return view[0, :, top : top + height, left : left + width]
