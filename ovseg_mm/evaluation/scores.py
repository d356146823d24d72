# SPDX-License-Identifier: Apache-2.0
"""Figures from a confusion matrix.

Letters: L labels; C[t, p] pixels of truth t predicted as p, of shape
(L, L + 1) int64, whose last column counts pixels that got no label;
TP = diag(C), G = C.sum(1), P = C.sum(0) without the last column,
U = G + P - TP.
"""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np


def class_scores(
    confusion: np.ndarray, relations: Mapping[int, Sequence[int]] | None = None
) -> dict[str, np.ndarray]:
    """IoU = TP / U and accuracy = TP / G of each class.

    With relations, the pixels of class c that were taken for one of its
    parents f count for c in part (SG-IoU of SCAN, CVPR 2024): TP becomes
    TP_c + sum_f beta_cf C[c, f] with beta_cf = (C[c, f] + C[f, f]) / P_f, the
    share of the pixels predicted as f that are c or f; U stays.

    Args:
        confusion (np.ndarray): C.
        relations (Mapping[int, Sequence[int]], optional): Parents of the
            classes that have any.

    Returns:
        dict[str, np.ndarray]: Of shape (L,), in [0, 1]: ``IoU``, 0 for classes
        that were predicted but do not occur in the truth and NaN for those
        that were not predicted either, and ``Acc``, NaN for those that do not
        occur.
    """
    truth, predicted, hits = _sums(confusion)
    union = truth + predicted - hits
    credit = hits.astype(float)
    for child, parents in (relations or {}).items():
        for parent in parents:
            taken = confusion[child, parent]
            # Nothing predicted as the parent: nothing taken for it either.
            if taken:
                share = (taken + hits[parent]) / predicted[parent]
                credit[child] += share * taken
    return {
        key: np.divide(
            credit, whole, out=np.full(len(hits), np.nan), where=whole > 0
        )
        for key, whole in dict(IoU=union, Acc=truth).items()
    }


def averages(
    confusion: np.ndarray, scores: dict[str, np.ndarray]
) -> dict[str, float]:
    """Average what :func:`class_scores` gives.

    Returns:
        dict[str, float]: In percent; NaN where nothing is there to be
        averaged:

        - ``mIoU``: over the classes with G > 0;
        - ``mIoU_union``: over those with G + P > 0, absent ones as 0;
        - ``aAcc``: sum of Acc * G / sum of G;
        - ``mAcc``: over the classes with G > 0;
        - ``fwIoU``: sum of IoU * G / sum of G.
    """
    truth, predicted, _ = _sums(confusion)
    iou, acc = np.nan_to_num(scores['IoU']), np.nan_to_num(scores['Acc'])
    present = np.count_nonzero(truth)
    return dict(
        mIoU=_percent(iou.sum(), present),
        mIoU_union=_percent(iou.sum(), np.count_nonzero(truth + predicted)),
        aAcc=_percent((acc * truth).sum(), truth.sum()),
        mAcc=_percent(acc.sum(), present),
        fwIoU=_percent((iou * truth).sum(), truth.sum()),
    )


# What MMSegmentation's IoUMetric gives for each of its ``iou_metrics``.
IOU_METRICS = dict(
    mIoU=('IoU', 'Acc'),
    mDice=('Dice', 'Acc'),
    mFscore=('Fscore', 'Precision', 'Recall'),
)


def overlap_scores(
    confusion: np.ndarray, iou_metrics: Sequence[str], beta: float = 1
) -> dict[str, np.ndarray]:
    """Scores of each class that MMSegmentation's ``IoUMetric`` has besides.

    Args:
        confusion (np.ndarray): C.
        iou_metrics (Sequence[str]): Keys of :data:`IOU_METRICS`.
        beta (float): Weight of the recall in the F score.

    Returns:
        dict[str, np.ndarray]: Of shape (L,), in [0, 1], NaN where the
        denominator is 0: of ``Dice`` = 2 TP / (G + P), ``Precision`` = TP / P,
        ``Recall`` = TP / G and ``Fscore`` = (1 + beta**2) Precision Recall /
        (beta**2 Precision + Recall) those that ``iou_metrics`` name.
    """
    truth, predicted, hits = _sums(confusion)
    with np.errstate(invalid='ignore', divide='ignore'):
        precision, recall = hits / predicted, hits / truth
        scores = dict(
            Dice=2 * hits / (truth + predicted),
            Fscore=(1 + beta**2)
            * precision
            * recall
            / (beta**2 * precision + recall),
            Precision=precision,
            Recall=recall,
        )
    wanted = {name for key in iou_metrics for name in IOU_METRICS[key]}
    return {key: value for key, value in scores.items() if key in wanted}


def zero_shot_averages(
    iou: np.ndarray, seen: Sequence[int], unseen: Sequence[int]
) -> dict[str, float]:
    """Average the IoU of the seen and the unseen classes.

    The means are over the union, like ``mIoU_union`` and the published
    figures: a class that was predicted but does not occur counts as 0.

    Args:
        iou (np.ndarray): Of each class, (L,), in [0, 1]; NaN for those to be
            left out.
        seen (Sequence[int]): Their indices.
        unseen (Sequence[int]): Their indices.

    Returns:
        dict[str, float]: ``mIoU_seen`` (S), ``mIoU_unseen`` (U) and their
        harmonic mean ``hIoU`` = 2 S U / (S + U), in percent.
    """
    means = []
    for labels in (seen, unseen):
        values = iou[list(labels)]
        present = values[~np.isnan(values)]
        means.append(_percent(present.sum(), len(present)))
    total, product = sum(means), 2 * means[0] * means[1]
    return dict(
        mIoU_seen=means[0],
        mIoU_unseen=means[1],
        hIoU=product / total if total != 0 else 0.0,
    )


def load_relations(
    path: str | PathLike, names: Sequence[str]
) -> dict[int, list[int]]:
    """Read which classes are kinds of which others.

    Args:
        path (str | PathLike): A JSON object, ``{"child": ["parent", ...],
            ...}``; classes are given by name or by number, counting from 0.
        names (Sequence[str]): Names of the L classes.

    Returns:
        dict[int, list[int]]: Parents of the classes that have any, as indices.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has another form or names an unknown class.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'The file of class relations {path} does not exist.'
        )
    try:
        table = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not valid JSON ({error}).') from error
    if not isinstance(table, dict) or not all(
        isinstance(parents, list) for parents in table.values()
    ):
        raise ValueError(
            f'{path} must hold a JSON object that lists the parents of each '
            'child class: {"armchair": ["chair"], ...}.'
        )
    return {
        _class_index(child, names, path): [
            _class_index(parent, names, path) for parent in parents
        ]
        for child, parents in table.items()
    }


def _class_index(key: str | int, names: Sequence[str], path: Path) -> int:
    if key in names:
        return list(names).index(key)
    if str(key).isdecimal() and int(key) < len(names):
        return int(key)
    raise ValueError(
        f'{path} names the class {key!r}, which is neither a name nor a '
        f'number below {len(names)} of the {len(names)} classes.'
    )


def _sums(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """G, P and TP of each class."""
    labelled = confusion[:, : len(confusion)]
    return confusion.sum(axis=1), labelled.sum(axis=0), labelled.diagonal()


def _percent(part: float, whole: float) -> float:
    return 100 * float(part) / float(whole) if whole else float('nan')
