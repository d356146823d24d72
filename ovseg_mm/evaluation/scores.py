# SPDX-License-Identifier: Apache-2.0
"""Scores computed from a confusion matrix.

Letters: L labels; C confusion matrix, (L, L + 1) int64: C[t, p] pixels of
label t are predicted as p, the last column counts pixels predicted as no
label; TP = diag(C), G = C.sum(1), P = C.sum(0) without the last column,
U = G + P - TP.
"""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from ovseg_mm.utils.errors import InputError, nearest


def class_scores(
    confusion: np.ndarray, relations: Mapping[int, Sequence[int]] | None = None
) -> dict[str, np.ndarray]:
    """IoU = TP / U and accuracy = TP / G of each class.

    With ``relations``, pixels of class c that are predicted as a parent f of
    c count in part (SG-IoU of SCAN, CVPR 2024): TP_c becomes
    TP_c + sum_f beta_cf C[c, f] with beta_cf = (C[c, f] + C[f, f]) / P_f, the
    share of the pixels predicted as f that are c or f. U is unchanged.

    Args:
        confusion (np.ndarray): C, (L, L + 1) int64.
        relations (Mapping[int, Sequence[int]], optional): Labels of the
            parents of each child label.

    Returns:
        dict[str, np.ndarray]: ``IoU`` and ``Acc``, (L,), in [0, 1]. Classes
        that do not occur have an ``Acc`` of NaN and an ``IoU`` of 0 if they
        are predicted, else NaN.
    """
    truth, predicted, hits = _sums(confusion)
    union = truth + predicted - hits
    credit = hits.astype(float)
    for child, parents in (relations or {}).items():
        for parent in parents:
            taken = confusion[child, parent]
            # Otherwise no pixel is predicted as the parent, and P_f may be 0.
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
    """Average the result of :func:`class_scores`.

    Args:
        confusion (np.ndarray): C, (L, L + 1) int64.
        scores (dict[str, np.ndarray]): ``IoU`` and ``Acc``, (L,).

    Returns:
        dict[str, float]: In percent; NaN if there are no values to average:

        - ``mIoU``: over the classes with G > 0;
        - ``mIoU_union``: over the classes with G + P > 0, those with G = 0 as
          0;
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


# Scores that MMSegmentation's IoUMetric reports for each ``iou_metrics``.
IOU_METRICS = dict(
    mIoU=('IoU', 'Acc'),
    mDice=('Dice', 'Acc'),
    mFscore=('Fscore', 'Precision', 'Recall'),
)


def overlap_scores(
    confusion: np.ndarray, iou_metrics: Sequence[str], beta: float = 1
) -> dict[str, np.ndarray]:
    """Dice and F scores of each class, as MMSegmentation's ``IoUMetric``.

    Args:
        confusion (np.ndarray): C, (L, L + 1) int64.
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

    As in ``mIoU_union`` and in published results, a class that is predicted
    but does not occur counts as 0.

    Args:
        iou (np.ndarray): IoU of each class, (L,), in [0, 1]; NaN for classes
            to leave out.
        seen (Sequence[int]): Seen labels.
        unseen (Sequence[int]): Unseen labels.

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
    """Read the parents of classes from a JSON file.

    Args:
        path (str | PathLike): A JSON object, ``{"child": ["parent", ...],
            ...}``; classes are given by name or by label.
        names (Sequence[str]): L class names.

    Returns:
        dict[int, list[int]]: Labels of the parents of each child label.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file is not such a JSON object or names an unknown
            class.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'the file of class relations {path} does not exist'
        )
    try:
        table = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise InputError(f'{path} is not valid JSON ({error})') from error
    if not isinstance(table, dict) or not all(
        isinstance(parents, list) for parents in table.values()
    ):
        raise InputError(
            f'{path} must hold a JSON object that lists the parents of each '
            'child class: {"armchair": ["chair"], ...}'
        )
    return {
        _class_index(child, names, path): [
            _class_index(parent, names, path) for parent in parents
        ]
        for child, parents in table.items()
    }


def _class_index(key: str | int, names: Sequence[str], path: Path) -> int:
    if isinstance(key, str) and key in names:
        return list(names).index(key)
    if str(key).isdecimal() and int(key) < len(names):
        return int(key)
    raise InputError(
        f'{path} has the class {key!r}, which is neither a class name nor a '
        f'label (0 to {len(names) - 1}){nearest(str(key), names)}'
    )


def _sums(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """G, P and TP of each class."""
    labelled = confusion[:, : len(confusion)]
    return confusion.sum(axis=1), labelled.sum(axis=0), labelled.diagonal()


def _percent(part: float, whole: float | np.integer) -> float:
    return 100 * float(part) / float(whole) if whole else float('nan')
