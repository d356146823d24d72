# SPDX-License-Identifier: Apache-2.0
"""Windows of an image, and the fusion of their scores.

Letters: V views (the windows, and optionally the whole image), T class texts,
H, W height and width of the image, h, w height and width of a view or of its
logits.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from ovseg_mm.structures import ViewLayout
from ovseg_mm.utils.resize import resize


def window_starts(size: int, window: int, stride: int) -> list[int]:
    """Index of the first pixel of each window along one axis.

    The positions are the same as in MMSegmentation.

    Args:
        size (int): Length of the axis, in pixels.
        window (int): Length of a window.
        stride (int): Distance between the starts of two windows.

    Returns:
        list[int]: Indices in ascending order. The last window is moved back,
        so that it ends at the border of the image. An axis shorter than a
        window has one window, at 0.
    """
    count = max(size - window + stride - 1, 0) // stride + 1
    return [max(min(i * stride, size - window), 0) for i in range(count)]


def whole_view(img: Tensor) -> tuple[Tensor, ViewLayout]:
    """Return the image as the only view, (1, 3, H, W), and its layout."""
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
        window (tuple[int, int]): Height and width of a window. An image
            smaller than a window is padded with zeros on the right and at the
            bottom.
        stride (tuple[int, int]): Vertical and horizontal distance between
            windows.
        canvas (tuple[int, int], optional): Height and width to which the
            image is resized first, without keeping its aspect ratio. None: no
            resizing.
        global_view (bool): Whether to add the whole image, resized to the
            size of a window, as the last view.
        fit (bool): Whether a window larger than the image is reduced to the
            size of the image, as in MMSegmentation. The image is then not
            padded to the size of the window.
        divisor (int): Height and width of a view become multiples of
            ``divisor`` by padding with zeros on all sides. :func:`fuse_views`
            removes the padding.

    Returns:
        tuple[Tensor, ViewLayout]: Views, (V, 3, h, w), row by row; and their
        positions in the image.
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
    """Fuse the logits of the views of an image into scores.

    The logits of a window are resized to the size of the window (bilinear)
    and passed to ``activate``. Where windows overlap, their scores are
    averaged. With a global view, the result is the mean of these averages and
    the scores of the global view. Without windows (:func:`whole_view`), logits
    are not resized.

    Args:
        logits (Tensor): Logits of the views, (V, T, h, w).
        layout (ViewLayout): Positions of the views in the image.
        activate (Callable): Function that turns logits into scores of the same
            shape; may overwrite the logits.
        score_size (tuple[int, int] | str, optional): Height and width to which
            the logits of a view are resized before the activation. After the
            activation, the scores are resized to the size of the window, or
            of the image if there are no windows. ``'input'``: the size of the
            window or image itself. None: as described above.

    Returns:
        Tensor: Scores of the image, (T, H, W); or (T, h, w) if there are no
        windows and ``score_size`` is None.
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
            view = unpadded(view, layout)
        rows, cols = slice(top, top + height), slice(left, left + width)
        scores[:, rows, cols] += _activated(
            view, layout.window, activate, score_size
        )
    scores /= window_counts(layout, scores[0])
    scores = scores[:, : layout.size[0], : layout.size[1]]
    if layout.global_view:
        whole = logits[-1]
        if any(layout.padding):
            whole = unpadded(whole, layout)
        whole = _activated(whole, layout.window, activate, score_size)
        scores = (scores + resize(whole[None], layout.size)[0]).div_(2)
    return scores


def _activated(
    view: Tensor,
    size: tuple[int, int],
    activate: Callable[[Tensor], Tensor],
    score_size: tuple[int, int] | None,
) -> Tensor:
    """Resize and activate the logits of a view.

    Args:
        view (Tensor): Logits, (T, h, w).
        size (tuple[int, int]): Height and width of the scores.
        activate (Callable): Function that turns logits into scores.
        score_size (tuple[int, int], optional): Height and width at which
            ``activate`` is called. None: ``size``.

    Returns:
        Tensor: Scores, (T, *size).
    """
    height, width = score_size or size
    wanted = (height, width)
    # The activation may overwrite a new tensor, but not the caller's.
    if tuple(view.shape[1:]) == wanted:
        resized = view.clone()
    else:
        resized = resize(view[None], wanted)[0]
    return resize(activate(resized)[None], size)[0]


def window_counts(layout: ViewLayout, like: Tensor) -> Tensor:
    """Number of windows that cover each pixel.

    Args:
        layout (ViewLayout): Positions of the windows.
        like (Tensor): Map of the padded image, (H, W), that gives the size,
            dtype and device of the result.

    Returns:
        Tensor: Number of windows at each pixel, (H, W).
    """
    assert layout.window is not None, 'without windows nothing is counted'
    covered = []
    # Windows form a grid, so rows and columns can be counted separately.
    for axis, side in enumerate(layout.window):
        count = like.new_zeros(like.shape[axis])
        for start in {corner[axis] for corner in layout.corners}:
            count[start : start + side] += 1
        covered.append(count)
    return covered[0][:, None] * covered[1]


def unpadded(view: Tensor, layout: ViewLayout) -> Tensor:
    """Resize the logits of a padded view and remove the padding.

    A view is a window, or the whole image resized to the size of a window.

    Args:
        view (Tensor): Logits of T class texts in the padded view, (T, h, w).
        layout (ViewLayout): Height and width of the view without padding
            (``window``), and its padding.

    Returns:
        Tensor: Logits in the view without padding, (T, height, width).
    """
    assert layout.window is not None, 'only windows are padded'
    height, width = layout.window
    left, right, top, bottom = layout.padding
    view = resize(view[None], (height + top + bottom, width + left + right))
    return view[0, :, top : top + height, left : left + width]
