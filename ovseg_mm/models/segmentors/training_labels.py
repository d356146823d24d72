# SPDX-License-Identifier: Apache-2.0
"""Training labels: checks of the vocabulary, and renumbering of label maps.

Letters: B images, H, W height and width in pixels.
"""

import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import UNKNOWN, Vocabulary

from ..decode_heads import BaseOpenVocabHead


def check_trainable(vocabulary: Vocabulary) -> None:
    """Raise an error if a vocabulary cannot be used for training.

    Args:
        vocabulary (Vocabulary): The training vocabulary. It must have exactly
            one class text for each label, in the order of the labels.

    Raises:
        InputError: If a label has several class texts, or if the class texts
            have another order than the labels.
    """
    if vocabulary.prompt_to_label != tuple(range(vocabulary.num_texts)):
        raise InputError(
            f'{vocabulary.source} has {vocabulary.num_texts} class texts for '
            f'{vocabulary.num_labels} labels, but training needs one text per '
            'label, in the order of the labels; set such a train_vocabulary'
        )


def check_learns_unseen(
    head: BaseOpenVocabHead, vocabulary: Vocabulary
) -> None:
    """Raise an error if the head cannot learn the unseen labels.

    Args:
        head (BaseOpenVocabHead): Decode head. It can learn unseen labels if
            its attribute ``learns_unseen`` is True.
        vocabulary (Vocabulary): The training vocabulary.

    Raises:
        InputError: If the vocabulary has unseen labels and the head cannot
            learn them.
    """
    if vocabulary.unseen and not head.learns_unseen:
        raise InputError(
            f'the training vocabulary {vocabulary.source} has unseen labels, '
            f'which a {type(head).__name__} cannot learn; set '
            "model.train_vocabulary=dict(class_texts=..., subset='seen')"
        )


def training_labels(
    labels: Tensor,
    data_samples: list[SegDataSample],
    vocabulary: Vocabulary,
    num_labels: int | None = None,
) -> Tensor:
    """Replace the label numbers of data sets by those of a vocabulary.

    If the training vocabulary contains only the seen labels of a larger
    vocabulary, the label maps may have the numbers of either vocabulary.
    Labels that are only in the larger vocabulary become the ignore label. If
    the training vocabulary itself marks labels as unseen, these labels become
    :data:`UNKNOWN`.

    Args:
        labels (Tensor): Label maps, (B, H, W) int64.
        data_samples (list[SegDataSample]): Samples of the images. Samples of
            an :class:`~ovseg_mm.datasets.OpenVocabDataset` have the number of
            labels in their data set, ``num_labels``.
        vocabulary (Vocabulary): The training vocabulary.
        num_labels (int, optional): Number of labels in the data set, for
            samples without ``num_labels``. None: number of labels in
            ``vocabulary``.

    Returns:
        Tensor: Label maps, (B, H, W) int64, with labels of the vocabulary, its
        ``ignore_label``, and ``UNKNOWN`` for unseen labels.

    Raises:
        InputError: If the number of labels in a data set fits neither
            vocabulary, or if a label has no class text.
    """
    numbered = torch.stack(
        [
            _numbered(
                img, sample.metainfo.get('num_labels', num_labels), vocabulary
            )
            for img, sample in zip(labels, data_samples)
        ]
    )
    if vocabulary.unseen:
        unseen = torch.tensor(vocabulary.unseen, device=labels.device)
        numbered[torch.isin(numbered, unseen)] = UNKNOWN
    _check_labels(numbered, data_samples, vocabulary)
    return numbered


def numbering_of(labels: Tensor, vocabulary: Vocabulary) -> int:
    """Guess whether label maps have the numbers of a larger vocabulary.

    Args:
        labels (Tensor): Label maps of a batch, (B, H, W) int64.
        vocabulary (Vocabulary): The training vocabulary, which may be a part
            of a larger vocabulary, ``vocabulary.whole``.

    Returns:
        int: Number of labels in the larger vocabulary if a label is too large
        for ``vocabulary``. Otherwise, number of labels in ``vocabulary``.
    """
    whole = vocabulary.whole
    if whole is not None:
        valid = (labels < whole.num_labels) & (labels != whole.ignore_label)
        valid &= labels != vocabulary.ignore_label
        if (labels[valid] >= vocabulary.num_labels).any():
            return whole.num_labels
    return vocabulary.num_labels


def _numbered(
    labels: Tensor, num_labels: int | None, vocabulary: Vocabulary
) -> Tensor:
    """Replace the label numbers of a data set by those of a vocabulary.

    Args:
        labels (Tensor): Label map, (H, W) int64.
        num_labels (int | None): Number of labels in the data set. None: number
            of labels in ``vocabulary``.
        vocabulary (Vocabulary): The training vocabulary.

    Returns:
        Tensor: Label map, (H, W) int64. Labels that are only in the larger
        vocabulary, ``vocabulary.whole``, become the ``ignore_label`` of
        ``vocabulary``. Labels outside [0, ``num_labels``) are kept.

    Raises:
        InputError: If ``num_labels`` is neither the number of labels in
            ``vocabulary`` nor in ``vocabulary.whole``.
    """
    whole, ignored = vocabulary.whole, vocabulary.ignore_label
    if num_labels in (None, vocabulary.num_labels):
        if whole is not None and whole.ignore_label != ignored:
            # Pixels that were added to make a batch.
            return labels.where(labels != whole.ignore_label, ignored)
        return labels.clone()
    if whole is None or num_labels != whole.num_labels:
        raise InputError(
            f'the training data have {num_labels} labels, but the training '
            f'vocabulary {vocabulary.source} has {vocabulary.num_labels}; '
            'set the same vocabulary in the data set and as train_vocabulary '
            'of the model, and remove unseen_labels from the data set'
        )
    table = torch.full((num_labels,), ignored, device=labels.device)
    kept = torch.tensor(vocabulary.kept, device=labels.device)
    table[kept] = torch.arange(len(kept), device=labels.device)
    valid = (labels >= 0) & (labels < num_labels)
    # Wrong labels stay as they are, for the message.
    numbered = table[labels.clamp(0, num_labels - 1)].where(valid, labels)
    return numbered.where(labels != whole.ignore_label, ignored)


def _check_labels(
    labels: Tensor,
    data_samples: list[SegDataSample],
    vocabulary: Vocabulary,
) -> None:
    """Raise an error if label maps (B, H, W) have labels without a text."""
    wrong = (labels < 0) | (labels >= vocabulary.num_labels)
    wrong &= labels != vocabulary.ignore_label
    if vocabulary.unseen:
        wrong &= labels != UNKNOWN
    if wrong.any():
        path, values = _first_of(wrong, labels, data_samples)
        raise InputError(
            f'{path} has the labels {values}, but the training vocabulary '
            f'{vocabulary.source} has {vocabulary.num_labels} labels, 0 to '
            f'{vocabulary.num_labels - 1}, and {vocabulary.ignore_label} for '
            'ignored pixels; choose the vocabulary of the data set or set '
            'reduce_zero_label'
        )


def _first_of(
    wrong: Tensor, labels: Tensor, data_samples: list[SegDataSample]
) -> tuple[str, list[int]]:
    """Find the first label map with a wrong label.

    Args:
        wrong (Tensor): True for pixels with a wrong label, (B, H, W) bool.
        labels (Tensor): Label maps, (B, H, W) int64.
        data_samples (list[SegDataSample]): Samples of the images.

    Returns:
        tuple[str, list[int]]: File of this label map, and its wrong labels.
    """
    image = int(wrong.flatten(1).any(dim=1).nonzero()[0])
    path = data_samples[image].metainfo.get('seg_map_path', 'a label map')
    return path, labels[image][wrong[image]].unique().tolist()
