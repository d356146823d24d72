# SPDX-License-Identifier: Apache-2.0
"""Checks of what a segmentor is trained with.

Letters: B images, H, W pixels.
"""

from inspect import signature

import torch
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ovseg_mm.errors import InputError
from ovseg_mm.vocabulary import Vocabulary

from ..utils import UNKNOWN


def check_trainable(vocabulary: Vocabulary) -> None:
    """Raise if a training label would stand for several texts."""
    if vocabulary.prompt_to_label != tuple(range(vocabulary.num_texts)):
        raise InputError(
            f'{vocabulary.source} has {vocabulary.num_texts} class texts for '
            f'{vocabulary.num_labels} labels, which suits tests alone; '
            'training takes one text for each label, in the order of the '
            'labels: name such a train_vocabulary'
        )


def check_learns_unseen(head: nn.Module, vocabulary: Vocabulary) -> None:
    """Raise if there are unseen texts and the head makes no labels for them.

    Args:
        head (nn.Module): Decode head; can if its ``loss`` takes ``unseen``.
        vocabulary (Vocabulary): The training vocabulary.

    Raises:
        ValueError: See above.
    """
    if vocabulary.unseen and 'unseen' not in signature(head.loss).parameters:
        raise InputError(
            f'the training vocabulary {vocabulary.source} has unseen labels, '
            f'which a {type(head).__name__} cannot learn; set '
            "train_vocabulary=dict(class_texts=..., subset='seen') of the "
            "model and unseen_labels='ignore' of the training data"
        )


def check_labels(
    labels: Tensor,
    data_samples: list[SegDataSample],
    vocabulary: Vocabulary,
) -> None:
    """Let only labels that stand for a seen text into training.

    Args:
        labels (Tensor): Label maps, (B, H, W) int64.
        data_samples (list[SegDataSample]): Name the files in messages.
        vocabulary (Vocabulary): The training vocabulary.

    Raises:
        ValueError: If a label stands for no text, or for an unseen one.
    """
    wrong = (labels < 0) | (labels >= vocabulary.num_labels)
    wrong &= labels != vocabulary.ignore_label
    if vocabulary.unseen:
        wrong &= labels != UNKNOWN
        unseen = torch.tensor(vocabulary.unseen, device=labels.device)
        leaked = torch.isin(labels, unseen)
        if leaked.any():
            path, values = _first_of(leaked, labels, data_samples)
            raise InputError(
                f'{path} has the labels {values}, which the training '
                f'vocabulary {vocabulary.source} calls unseen; set '
                "unseen_labels='mark' of the training data"
            )
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
