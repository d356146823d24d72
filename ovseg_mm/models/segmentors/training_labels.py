# SPDX-License-Identifier: Apache-2.0
"""Training labels: checks of the vocabulary, numbering of label maps.

Letters: B images, H, W pixels.
"""

import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import UNKNOWN, Vocabulary

from ..decode_heads import BaseOpenVocabHead


def check_trainable(vocabulary: Vocabulary) -> None:
    """Raise if a training label would stand for several texts."""
    if vocabulary.prompt_to_label != tuple(range(vocabulary.num_texts)):
        raise InputError(
            f'{vocabulary.source} has {vocabulary.num_texts} class texts for '
            f'{vocabulary.num_labels} labels; this is possible for testing, '
            'but training takes one text for each label, in the order of the '
            'labels: name such a train_vocabulary'
        )


def check_learns_unseen(
    head: BaseOpenVocabHead, vocabulary: Vocabulary
) -> None:
    """Raise if there are unseen texts and the head cannot learn them.

    Args:
        head (BaseOpenVocabHead): Learns them if ``learns_unseen``.
        vocabulary (Vocabulary): The training vocabulary.

    Raises:
        InputError: If there are unseen texts that the head cannot learn.
    """
    if vocabulary.unseen and not head.learns_unseen:
        raise InputError(
            f'the training vocabulary {vocabulary.source} has unseen labels, '
            f'which a {type(head).__name__} cannot learn; set '
            "train_vocabulary=dict(class_texts=..., subset='seen') of the "
            'model'
        )


def training_labels(
    labels: Tensor,
    data_samples: list[SegDataSample],
    vocabulary: Vocabulary,
    num_labels: int | None = None,
) -> Tensor:
    """Number label maps as the training vocabulary does.

    Data sets may number the labels of the training vocabulary or, if this is
    the seen part of another one, all labels of the whole. Labels of the whole
    that are not in the part become ignored; unseen labels of the vocabulary
    become :data:`UNKNOWN`.

    Args:
        labels (Tensor): Label maps, (B, H, W) int64.
        data_samples (list[SegDataSample]): Samples. With ``num_labels``, as
            from an :class:`~ovseg_mm.datasets.OpenVocabDataset`, they say
            how many labels the numbering has.
        vocabulary (Vocabulary): The training vocabulary.
        num_labels (int, optional): Number of labels in the numbering of
            other data sets. None: the number of the vocabulary.

    Returns:
        Tensor: (B, H, W) int64: labels in [0, L), ``vocabulary.ignore_label``
        and, if there are unseen labels, ``UNKNOWN``.

    Raises:
        InputError: If a numbering or a label does not fit the vocabulary.
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
    """Find by which vocabulary label maps are numbered, from their values.

    Args:
        labels (Tensor): Label maps of a batch, (B, H, W) int64.
        vocabulary (Vocabulary): The training vocabulary.

    Returns:
        int: Number of labels of the whole vocabulary, if a label occurs that
        only the whole has; otherwise of the vocabulary itself.
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
    """Number one label map (H, W) as the vocabulary does."""
    whole, ignored = vocabulary.whole, vocabulary.ignore_label
    if num_labels in (None, vocabulary.num_labels):
        if whole is not None and whole.ignore_label != ignored:
            # Padding of batches.
            return labels.where(labels != whole.ignore_label, ignored)
        return labels.clone()
    if whole is None or num_labels != whole.num_labels:
        raise InputError(
            f'the training data number {num_labels} labels, but the training '
            f'vocabulary {vocabulary.source} has {vocabulary.num_labels}; '
            'give both the same vocabulary. unseen_labels of the data set is '
            "not needed; if set, it is 'ignore' for the seen part and 'mark' "
            'for all labels'
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
    """Raise if a label (B, H, W) has no text in the vocabulary."""
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
    chosen: Tensor, labels: Tensor, data_samples: list[SegDataSample]
) -> tuple[str, list[int]]:
    """File and labels of the first image with chosen pixels (B, H, W)."""
    image = int(chosen.flatten(1).any(dim=1).nonzero()[0])
    path = data_samples[image].metainfo.get('seg_map_path', 'a label map')
    return path, labels[image][chosen[image]].unique().tolist()
