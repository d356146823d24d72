# SPDX-License-Identifier: Apache-2.0
"""Interface of decode heads: all that the segmentors use.

Letters: B images or views, T class texts, P prompts per class, C embedding
width, Q proposals, n of them valid (they have a region), h, w positions, H, W
pixels.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmseg.models.losses import accuracy
from torch import Tensor, nn

from ovseg_mm.structures import MaskPredictions
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.resize import resize

from ..losses import build_losses, dense_losses
from ..utils import fill_unknown


class BaseOpenVocabHead(BaseModule):
    """Dense head of an :class:`OpenVocabSegmentor`.

    A sub-class implements :meth:`forward` and sets ``method``. A head may
    have no parameters. The defaults train with ``loss_decode`` on logits at
    the size of the labels and take the logits as scores.

    Args:
        loss_decode (Mapping | Sequence[Mapping], optional): Config of a loss
            of logits and labels, or of several. None: the head cannot be
            trained, unless it overrides :meth:`loss`.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    method: str = ''
    """Name of the method as users write it, for messages and reports."""

    learns_unseen: bool = False
    """Whether :meth:`loss` makes pseudo labels for unseen classes."""

    threshold: float = 0.0
    """Score that a pixel must exceed if the vocabulary has one label."""

    compares_texts: bool = False
    """Whether scores only compare texts and do not say how well one text fits:
    they are trained with, or made by, a softmax over all texts."""

    prompt_channels: int = 1
    """Text embeddings of a class (P) that the head needs; 1 also for heads
    that average any number."""

    exports_any_size: bool = True
    """Whether an exported graph may take images of any size."""

    with_accuracy: bool = False
    """Whether the pixel accuracy in percent is logged as ``acc_seg``."""

    num_classes: int = 0
    """Labels of the vocabulary; the segmentor sets it for ``mmseg.apis``."""

    def __init__(
        self,
        loss_decode: Mapping | Sequence[Mapping] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.loss_decode: nn.Module | None = None
        if loss_decode is not None:
            self.loss_decode = build_losses(loss_decode)

    @abstractmethod
    def forward(self, feats: Any, text: Tensor) -> Any:
        """Logits of all class texts.

        Args:
            feats (Any): Output of the neck, or of the backbone without one.
            text (Tensor): Text embeddings, (T, P, C), normalised.

        Returns:
            Tensor: (B, T, h, w).
        """

    def loss(
        self,
        feats: Any,
        text: Tensor,
        labels: Tensor,
        ignore_index: int = 255,
        unseen: Sequence[int] = (),
    ) -> dict[str, Tensor]:
        """Losses of a batch at the size of the labels.

        Args:
            feats (Any): See :meth:`forward`.
            text (Tensor): Text embeddings, (T, P, C), normalised.
            labels (Tensor): Label maps, (B, H, W) int64 in [0, T),
                ``ignore_index`` or, with ``unseen``, :data:`UNKNOWN` for any
                of these.
            ignore_index (int): Label of pixels without a class.
            unseen (Sequence[int]): Classes that ``UNKNOWN`` may stand for;
                empty unless the head ``learns_unseen``.

        Returns:
            dict[str, Tensor]: Losses by name, perhaps ``acc_seg``.

        Raises:
            InputError: If the head has no loss.
        """
        self.check_trainable()
        height, width = labels.shape[1:]
        logits = resize(self(feats, text), (height, width))
        labels = fill_unknown(labels, logits, unseen)
        return self.dense_losses(logits, labels, ignore_index)

    def activate(self, logits: Tensor) -> Tensor:
        """Turn logits into scores, which are averaged over windows.

        Args:
            logits (Tensor): Class logits, (t, H, W), of some of the classes;
                may be overwritten.

        Returns:
            Tensor: Scores of the same shape; by default they are the logits.
        """
        return logits

    def check_trainable(self) -> None:
        """Raise if the head cannot be trained.

        Raises:
            InputError: If the head has no loss.
        """
        if self.loss_decode is None:
            raise InputError(
                f'a {type(self).__name__} has nothing to train; use '
                '`mim test` or `python -m ovseg_mm predict`'
            )

    def dense_losses(
        self, logits: Tensor, labels: Tensor, ignore_index: int
    ) -> dict[str, Tensor]:
        """Losses, and the accuracy if wanted, of logits (B, T, H, W).

        Args:
            logits (Tensor): Class logits, (B, T, H, W).
            labels (Tensor): Label maps, (B, H, W) int64 in [0, T) or
                ``ignore_index``.
            ignore_index (int): Label of pixels without a class.

        Returns:
            dict[str, Tensor]: Losses by name, perhaps ``acc_seg``.
        """
        assert self.loss_decode is not None, 'see check_trainable'
        losses = dense_losses(self.loss_decode, logits, labels, ignore_index)
        if self.with_accuracy:
            losses['acc_seg'] = accuracy(
                logits.detach(), labels, ignore_index=ignore_index
            )
        return losses

    def one_prompt(self, text: Tensor) -> Tensor:
        """Text embeddings (T, 1, C) without the axis of prompts, (T, C).

        Args:
            text (Tensor): Text embeddings, (T, P, C).

        Returns:
            Tensor: (T, C).

        Raises:
            InputError: If P is not 1.
        """
        if text.shape[1] != 1:
            raise InputError(
                f'{type(self).__name__} takes one text embedding per class, '
                f'found {text.shape[1]}; set prompts.average_templates=True'
            )
        return text[:, 0]


class BaseMaskHead(BaseOpenVocabHead):
    """Head of an :class:`OpenVocabMaskSegmentor`: masks with classes.

    A sub-class implements :meth:`forward` and :meth:`loss`. The default
    decides by the proposals' own class logits; a head whose
    ``uses_regions`` is true also implements :meth:`region_logits` and
    :meth:`class_weights`.
    """

    @property
    def uses_regions(self) -> bool:
        """Whether CLIP's embeddings of regions take part in the decision."""
        return False

    @property
    def context_blocks(self) -> tuple[int, ...]:
        """Blocks (0-based) of CLIP on the whole image whose tokens are needed.

        Their tokens are in ``feats.context``.
        """
        return ()

    @abstractmethod
    def forward(self, feats: Any, text: Tensor) -> MaskPredictions:
        """Propose and classify masks.

        Args:
            feats (Any): Output of the pixel decoder.
            text (Tensor): Text embeddings, (T, P, C), normalised.

        Returns:
            MaskPredictions: Class and mask logits.
        """

    @abstractmethod
    def loss(
        self,
        feats: Any,
        text: Tensor,
        labels: Tensor,
        ignore_index: int = 255,
        unseen: Sequence[int] = (),
    ) -> dict[str, Tensor]:
        """Losses of a batch, see :meth:`BaseOpenVocabHead.loss`.

        Args:
            feats (Any): Output of the pixel decoder.
            text (Tensor): Text embeddings, (T, P, C), normalised.
            labels (Tensor): Label maps, (B, H, W) int64 of the padded images.
            ignore_index (int): Label of pixels without a class.
            unseen (Sequence[int]): Empty unless the head ``learns_unseen``.

        Returns:
            dict[str, Tensor]: Losses by name.
        """

    def region_logits(self, embeddings: Tensor, text: Tensor) -> Tensor:
        """Classify regions.

        Args:
            embeddings (Tensor): CLIP's embeddings of regions, (n, C).
            text (Tensor): Text embeddings, (T, P, C), normalised.

        Returns:
            Tensor: (n, T); without the class ``no object``.
        """
        raise NotImplementedError(
            f'{type(self).__name__} uses regions but has no region_logits'
        )

    def class_weights(
        self,
        class_logits: Tensor,
        region_logits: Tensor | None = None,
        valid: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        """Votes of the proposals of an image for the classes.

        Args:
            class_logits (Tensor): Class logits of queries, (Q, T + 1); the
                last class is ``no object``.
            region_logits (Tensor, optional): Class logits of regions, (n, T),
                if regions are used.
            valid (Tensor, optional): Proposals that have a region, (Q,)
                bool, if regions are used.
            seen (Tensor, optional): Classes that training has seen, (T,)
                bool; None if that is not known.

        Returns:
            Tensor: (Q, T). A pixel's score of a class is their product with
            the mask probabilities, summed over all proposals.
        """
        return object_probs(class_logits)


def object_probs(class_logits: Tensor) -> Tensor:
    """Probabilities of all classes but ``no object``, float32.

    Args:
        class_logits (Tensor): Class logits of queries, (..., T + 1); the last
            class is ``no object``.

    Returns:
        Tensor: (..., T); rows sum to 1 minus the probability of
        ``no object``.
    """
    return torch.softmax(class_logits.float(), dim=-1)[..., :-1]
