# SPDX-License-Identifier: Apache-2.0
"""Interface of decode heads: all methods and attributes that segmentors use.

Letters: B images or views, T class texts, P prompts per class, C embedding
width, Q mask proposals, n proposals that have an image region (the mask is not
empty), h x w size of the logits, H x W pixels.
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
    """Base class of dense heads, for :class:`OpenVocabSegmentor`.

    A sub-class implements :meth:`forward` and sets the attribute
    :attr:`method`. It may override :meth:`loss` and :meth:`activate`. By
    default, :meth:`loss` resizes the logits to the size of the labels, and
    :meth:`activate` uses the logits as scores.

    Args:
        loss_decode (Mapping | Sequence[Mapping], optional): Config of one or
            several losses between logits and labels. None for heads that
            cannot be trained, and for heads that override :meth:`loss`.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    method: str = ''
    """Name of the published method, such as ``'CAT-Seg'``, which messages and
    reports contain."""

    learns_unseen: bool = False
    """Whether :meth:`loss` makes pseudo labels for unseen classes."""

    threshold: float = 0.0
    """Threshold of the scores for a vocabulary with one label. Pixels whose
    score is at or below the threshold become background."""

    compares_texts: bool = False
    """Whether the score of a text has a meaning only in comparison with the
    scores of other texts, because training or the head uses a softmax over all
    texts."""

    prompt_channels: int = 1
    """Number P of text embeddings per class that the head needs. It is 1 for
    heads that average the embeddings of all prompts."""

    limits_words: bool = False
    """Whether :meth:`forward` has the argument ``max_words``, the maximum
    number of class texts in each view."""

    exports_any_size: bool = True
    """Whether an exported graph of the head accepts images of any size."""

    with_accuracy: bool = False
    """Whether the pixel accuracy in percent is logged as ``acc_seg``."""

    num_classes: int = 0
    """Number of labels. The segmentor sets it, and ``mmseg.apis`` read it."""

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
        """Compute the logits of all class texts.

        Args:
            feats (Any): Output of the neck, or of the backbone if there is no
                neck.
            text (Tensor): Normalised text embeddings of T class texts, P
                prompts and width C, (T, P, C).

        Returns:
            Tensor: Logits, (B, T, h, w).
        """

    def loss(
        self,
        feats: Any,
        text: Tensor,
        labels: Tensor,
        ignore_index: int = 255,
        unseen: Sequence[int] = (),
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        The logits are resized to the size of the labels.

        Args:
            feats (Any): Output of the neck, or of the backbone if there is no
                neck.
            text (Tensor): Normalised text embeddings of T class texts, P
                prompts and width C, (T, P, C).
            labels (Tensor): Label maps, (B, H, W) int64. Each label is in [0,
                T), ``ignore_index``, or :data:`UNKNOWN` for pixels of an
                unseen class.
            ignore_index (int): Label of pixels without a class.
            unseen (Sequence[int]): Labels of the unseen classes. Each pixel
                with ``UNKNOWN`` gets one of them as a pseudo label. Empty if
                :attr:`learns_unseen` is False.

        Returns:
            dict[str, Tensor]: Losses by name, and the pixel accuracy as
            ``acc_seg`` if ``with_accuracy`` is set.

        Raises:
            InputError: If the head has no ``loss_decode``.
        """
        self.check_trainable()
        height, width = labels.shape[1:]
        logits = resize(self(feats, text), (height, width))
        labels = fill_unknown(labels, logits, unseen)
        return self.dense_losses(logits, labels, ignore_index)

    def activate(self, logits: Tensor) -> Tensor:
        """Turn logits into the scores that are averaged over windows.

        Args:
            logits (Tensor): Logits of t class texts, (t, H, W): all texts of
                the vocabulary, or some of them. They may be overwritten.

        Returns:
            Tensor: Scores, (t, H, W). By default, they are the logits.
        """
        return logits

    def check_trainable(self) -> None:
        """Raise an error if the head cannot be trained.

        Raises:
            InputError: If the head has no ``loss_decode``.
        """
        if self.loss_decode is None:
            raise InputError(
                f'the decode head {type(self).__name__} has nothing to '
                'train; do not train this model, but use `mim test` or '
                '`python -m ovseg_mm predict`'
            )

    def dense_losses(
        self, logits: Tensor, labels: Tensor, ignore_index: int
    ) -> dict[str, Tensor]:
        """Compute the losses of logits that have the size of the labels.

        Args:
            logits (Tensor): Logits of T class texts, (B, T, H, W).
            labels (Tensor): Label maps, (B, H, W) int64; each label is in [0,
                T) or ``ignore_index``.
            ignore_index (int): Label of pixels without a class.

        Returns:
            dict[str, Tensor]: Losses by name, and the pixel accuracy as
            ``acc_seg`` if ``with_accuracy`` is set.
        """
        assert self.loss_decode is not None, 'see check_trainable'
        losses = dense_losses(self.loss_decode, logits, labels, ignore_index)
        if self.with_accuracy:
            losses['acc_seg'] = accuracy(
                logits.detach(), labels, ignore_index=ignore_index
            )
        return losses

    def one_prompt(self, text: Tensor) -> Tensor:
        """Remove the prompt axis of text embeddings, which must have size 1.

        Args:
            text (Tensor): Text embeddings of T class texts, P prompts and
                width C, (T, P, C).

        Returns:
            Tensor: Text embeddings, (T, C).

        Raises:
            InputError: If P is not 1.
        """
        if text.shape[1] != 1:
            raise InputError(
                f'{type(self).__name__} takes one text embedding per class, '
                f'but there are {text.shape[1]}; set '
                'prompts.average_templates=True'
            )
        return text[:, 0]


class BaseMaskHead(BaseOpenVocabHead):
    """Base class of mask heads, for :class:`OpenVocabMaskSegmentor`.

    A sub-class implements :meth:`forward` and :meth:`loss`. By default, the
    class logits of :meth:`forward` decide the class of a mask proposal. Some
    heads also classify the image region under each mask with CLIP. Such a head
    overrides :attr:`uses_regions`, :meth:`region_logits` and
    :meth:`class_weights`.
    """

    @property
    def uses_regions(self) -> bool:
        """Whether the head needs CLIP's embeddings of image regions."""
        return False

    @property
    def context_blocks(self) -> tuple[int, ...]:
        """Indices, counted from 0, of the CLIP blocks that the head needs.

        The segmentor runs CLIP on the whole image and stores the output tokens
        of these blocks in ``feats.context``.
        """
        return ()

    @abstractmethod
    def forward(self, feats: Any, text: Tensor) -> MaskPredictions:
        """Compute mask proposals and their class logits.

        Args:
            feats (Any): Output of the pixel decoder.
            text (Tensor): Normalised text embeddings of T class texts, P
                prompts and width C, (T, P, C).

        Returns:
            MaskPredictions: Class and mask logits of the proposals.
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
        """Compute the losses of a batch.

        Args:
            feats (Any): Output of the pixel decoder.
            text (Tensor): Normalised text embeddings of T class texts, P
                prompts and width C, (T, P, C).
            labels (Tensor): Label maps of the padded images, (B, H, W) int64;
                each label is in [0, T) or ``ignore_index``.
            ignore_index (int): Label of pixels without a class.
            unseen (Sequence[int]): Labels of the unseen classes. Empty if
                :attr:`learns_unseen` is False.

        Returns:
            dict[str, Tensor]: Losses by name.
        """

    def region_logits(self, embeddings: Tensor, text: Tensor) -> Tensor:
        """Classify the image regions under the masks of proposals.

        Args:
            embeddings (Tensor): CLIP's embeddings of n regions, width C,
                (n, C).
            text (Tensor): Normalised text embeddings of T class texts, P
                prompts and width C, (T, P, C).

        Returns:
            Tensor: Class logits, (n, T), without the class ``no object``.
        """
        raise NotImplementedError(
            f'{type(self).__name__} sets uses_regions but does not implement '
            'region_logits; implement it'
        )

    def class_weights(
        self,
        class_logits: Tensor,
        region_logits: Tensor | None = None,
        valid: Tensor | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        """Compute the weight of each proposal for each class, in one image.

        The score of a class at a pixel is a sum over the proposals: weight of
        the proposal for this class, times mask probability at this pixel.

        Args:
            class_logits (Tensor): Logits of Q proposals and T class texts,
                (Q, T + 1); the last class is ``no object``.
            region_logits (Tensor, optional): Class logits of the n regions,
                (n, T). None if :attr:`uses_regions` is False.
            valid (Tensor, optional): True for the n proposals that have a
                region, (Q,) bool. None if :attr:`uses_regions` is False.
            seen (Tensor, optional): True for class texts that training has
                seen, (T,) bool. None if the vocabulary has no unseen labels.

        Returns:
            Tensor: Weights, (Q, T).
        """
        return object_probs(class_logits)


def object_probs(class_logits: Tensor) -> Tensor:
    """Compute class probabilities without the class ``no object``.

    The softmax is over all T + 1 classes. Then the last class is removed.

    Args:
        class_logits (Tensor): Logits of T class texts and, as the last class,
            of ``no object``, (..., T + 1).

    Returns:
        Tensor: Probabilities, (..., T) float32. Their sum over the T class
        texts is 1 minus the probability of ``no object``.
    """
    return torch.softmax(class_logits.float(), dim=-1)[..., :-1]
