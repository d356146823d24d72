# SPDX-License-Identifier: Apache-2.0
"""Scores of one image from the logits of its views.

Letters: V views of an image, T class texts, t class texts in one slice of
these T texts, H, W height and width of the image, h, w height and width of the
logits of a view.
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

    This way, a label map can be computed without the scores of all T texts in
    memory. Besides ``logits``, the computation needs at most 32 bytes per
    pixel of the image. Two cases need more memory. If ``logits`` are
    :class:`MaskVotes`, the logits of 32 texts in all views are kept. With
    refinement, 16 weights per pixel are kept.

    Args:
        logits (Tensor | MaskVotes): Logits of the V views, (V, T, h, w), or
            class weights and masks of the mask proposals in these views.
        layout (ViewLayout): Positions of the views in the image.
        size (tuple[int, int]): Height and width of the scores.
        activate (Callable): Function that turns logits, (t, h, w), into scores
            of the same shape; may overwrite the logits.
        refiner (PixelRefiner): Refinement of scores of this ``size``.
        score_size (tuple[int, int] | str, optional): See :func:`fuse_views`.
        seen (Tensor, optional): True for texts of classes seen in training,
            (T,) bool. None: no penalty is subtracted.
        penalty (float): Value to subtract from the scores of seen texts.
        flip (str, optional): Flip of the views to undo: ``'horizontal'``,
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
    # Logits of the last computed block of texts, by index of its first text.
    _joined: dict[int, Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def of(self, classes: slice = slice(None)) -> Tensor:
        """Compute the scores of some class texts.

        Args:
            classes (slice): Slice that selects t of the T texts. Default: all
                texts.

        Returns:
            Tensor: Scores of the texts at each pixel, (t, H, W) float32.
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
        """Logits of some class texts in the views, (V, t, h, w) float32.

        With mask proposals, the logits of a text are the sum of all masks,
        weighted by the text's class weights. Even for one text, all masks
        must be read. Therefore, logits are computed for 32 texts at a time
        and kept for later calls.
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
        encoded (Tensor | MaskVotes): Logits of all T texts in V views,
            (V, T, h, w), or class weights and masks of mask proposals.
        classes (slice): Slice of the T texts, with t texts.

    Returns:
        Tensor: Logits of these texts, (V, t, h, w) float32.
    """
    if isinstance(encoded, MaskVotes):
        return join_votes(encoded.weights[:, :, classes], encoded.masks)
    return encoded[:, classes].float()
