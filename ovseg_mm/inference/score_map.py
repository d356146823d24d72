# SPDX-License-Identifier: Apache-2.0
"""Scores of one image from the logits of its views.

Letters: V views, Q proposals, T class texts, t texts of a slice, H, W pixels,
h, w size of a view's logits.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from ovseg_mm.structures import MaskVotes, ViewLayout
from ovseg_mm.utils.resize import resize

from . import postprocess
from .calibration import join_votes, penalise_seen
from .refinement import PixelRefiner
from .windows import fuse_views

FLIPPED_AXES = dict(horizontal=(2,), vertical=(1,), diagonal=(1, 2))


@dataclass(frozen=True)
class ScoreMap:
    """Scores of an image, computed for a few class texts at a time.

    To compute a label map, memory holds the logits or votes of the views and
    at most 32 bytes per pixel of the image or the canvas (0.36 GiB at 12
    megapixels), four times the label map itself, for any number of texts.
    Votes add the logits of 32 texts at the size of the views; refinement adds
    the weights of 16 neighbours per pixel.

    Args:
        logits (Tensor | MaskVotes): Logits of the views, (V, T, h, w), or the
            votes of their proposals.
        layout (ViewLayout): Where the views lie in the image.
        size (tuple[int, int]): (H, W) of the scores.
        activate (Callable): Logits (t, H, W) to scores; may write in place.
        refiner (PixelRefiner): Refinement at ``size``.
        score_size (tuple[int, int] | str, optional): See :func:`fuse_views`.
        seen (Tensor, optional): Texts that training has seen, (T,) bool.
        penalty (float): Subtracted from the scores of seen texts, see
            :func:`penalise_seen`.
        flip (str, optional): Direction of a flip to undo, ``'horizontal'``,
            ``'vertical'`` or ``'diagonal'``.
    """

    logits: Tensor | MaskVotes
    layout: ViewLayout
    size: tuple[int, int]
    activate: Callable[[Tensor], Tensor]
    refiner: PixelRefiner
    score_size: tuple[int, int] | str | None = None
    seen: Tensor | None = None
    penalty: float = 0.0
    flip: str | None = None
    # Logits of the last computed block of texts, with its start as the key.
    _joined: dict[int, Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def of(self, classes: slice = slice(None)) -> Tensor:
        """Scores of some class texts.

        Args:
            classes (slice): Indices of the texts. Default: all.

        Returns:
            Tensor: (t, H, W) float32.
        """
        activate = self.activate
        if self.seen is not None and self.penalty:
            activate = partial(self._penalised, self.seen[classes])
        views = self._view_logits(classes)
        fused = fuse_views(views, self.layout, activate, self.score_size)
        if self.flip:
            fused = fused.flip(FLIPPED_AXES[self.flip])
        return self.refiner(resize(fused[None], self.size)[0])

    def _view_logits(self, classes: slice) -> Tensor:
        """See :func:`view_logits`.

        The votes for one text take all masks of the proposals to join, so
        they are joined for a block of texts, which is kept for later calls.
        """
        if not isinstance(self.logits, MaskVotes):
            return view_logits(self.logits, classes)
        size = postprocess.CLASSES_AT_A_TIME
        start, stop, _ = classes.indices(self.logits.weights.shape[2])
        first = start - start % size
        if stop > first + size:
            return view_logits(self.logits, classes)
        if first not in self._joined:
            self._joined.clear()
            block = slice(first, first + size)
            self._joined[first] = view_logits(self.logits, block)
        return self._joined[first][:, start - first : stop - first]

    def _penalised(self, seen: Tensor, logits: Tensor) -> Tensor:
        return penalise_seen(self.activate(logits), seen, self.penalty)


def view_logits(encoded: Tensor | MaskVotes, classes: slice) -> Tensor:
    """Logits of some class texts in the views of an image.

    Args:
        encoded (Tensor | MaskVotes): Logits (V, T, h, w), or votes.
        classes (slice): Indices of the texts.

    Returns:
        Tensor: (V, t, h, w) float32.
    """
    if isinstance(encoded, MaskVotes):
        return join_votes(encoded.weights[:, :, classes], encoded.masks)
    return encoded[:, classes].float()
