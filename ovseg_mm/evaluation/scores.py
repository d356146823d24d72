# SPDX-License-Identifier: Apache-2.0
"""Scores of predicted label maps, computed from a confusion matrix.

The confusion matrix C of L labels is (L, L + 1): C[t, p] is the number of
pixels with the ground-truth label t and the predicted label p. The last column
counts pixels for which no label is predicted.
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
    """Compute the IoU and the accuracy of each class.

    For a class with G ground-truth pixels, P predicted pixels and TP correctly
    predicted pixels, the IoU is TP / (G + P - TP) and the accuracy is TP / G.

    With ``relations``, the scores are the SG-IoU of SCAN (CVPR 2024): pixels
    of a class c count in part if they are predicted as a parent f, a more
    general class than c. These pixels add
    C[c, f] * (C[c, f] + C[f, f]) / P_f to the numerators of IoU and accuracy,
    where P_f is the number of pixels predicted as f. The denominators are not
    changed.

    Args:
        confusion (np.ndarray): Confusion matrix C of L labels, (L, L + 1)
            int64.
        relations (Mapping[int, Sequence[int]], optional): Labels of the
            parents of each child class, by the label of the child.

    Returns:
        dict[str, np.ndarray]: ``IoU`` and ``Acc`` of each class, (L,), in
        [0, 1]. ``Acc`` is NaN for classes without ground-truth pixels. The
        ``IoU`` of these classes is 0 if they have predicted pixels, and NaN
        otherwise.
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
    """Average the scores of all classes.

    Args:
        confusion (np.ndarray): Confusion matrix of L labels, (L, L + 1)
            int64.
        scores (dict[str, np.ndarray]): ``IoU`` and ``Acc`` of each class,
            (L,), from :func:`class_scores`.

    Returns:
        dict[str, float]: Averages in percent; NaN if there is no class to
        average:

        - ``mIoU``: mean IoU of the classes with ground-truth pixels;
        - ``mIoU_union``: mean IoU of the classes with ground-truth pixels or
          predicted pixels; classes without ground-truth pixels count as 0;
        - ``aAcc``: mean accuracy of all classes, weighted by their numbers of
          ground-truth pixels;
        - ``mAcc``: mean accuracy of the classes with ground-truth pixels;
        - ``fwIoU``: mean IoU of all classes, weighted by their numbers of
          ground-truth pixels.
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


# Scores that MMSegmentation's IoUMetric reports for each value of iou_metrics.
IOU_METRICS = dict(
    mIoU=('IoU', 'Acc'),
    mDice=('Dice', 'Acc'),
    mFscore=('Fscore', 'Precision', 'Recall'),
)


def overlap_scores(
    confusion: np.ndarray, iou_metrics: Sequence[str], beta: float = 1
) -> dict[str, np.ndarray]:
    """Compute the Dice and F scores of each class, as in MMSegmentation.

    For a class with G ground-truth pixels, P predicted pixels and TP correctly
    predicted pixels:

    - ``Dice`` = 2 TP / (G + P)
    - ``Precision`` = TP / P
    - ``Recall`` = TP / G
    - ``Fscore`` = (1 + beta**2) Precision Recall / (beta**2 Precision +
      Recall)

    Args:
        confusion (np.ndarray): Confusion matrix of L labels, (L, L + 1)
            int64.
        iou_metrics (Sequence[str]): Keys of :data:`IOU_METRICS`; they select
            the scores to return.
        beta (float): Weight of the recall in the F score.

    Returns:
        dict[str, np.ndarray]: Each selected score of each class, (L,), in
        [0, 1]; NaN where the denominator is 0.
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
    """Average the IoU of the seen classes and of the unseen classes.

    As in published results, a class that is predicted but does not occur in
    the ground truth counts as 0.

    Args:
        iou (np.ndarray): IoU of each of the L classes, (L,), in [0, 1].
            Classes with NaN are left out.
        seen (Sequence[int]): Labels of the seen classes.
        unseen (Sequence[int]): Labels of the unseen classes.

    Returns:
        dict[str, float]: Means ``mIoU_seen`` and ``mIoU_unseen``, and their
        harmonic mean ``hIoU``, in percent; NaN if there is no class to
        average.
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

    A parent is a more general class, such as "chair" for "armchair".

    Args:
        path (str | PathLike): JSON file with an object such as
            ``{"armchair": ["chair"], ...}``, which lists the parents of each
            child class. Each class is a class name or a label.
        names (Sequence[str]): Class names in the order of the labels.

    Returns:
        dict[int, list[int]]: Labels of the parents of each child class, by
        the label of the child.

    Raises:
        FileNotFoundError: If the file does not exist.
        InputError: If the file has another format or names an unknown class.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'the file of class relations {path} does not exist; correct the '
            "path in the option 'relations' of the metric"
        )
    try:
        table = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise InputError(
            f'{path} is not valid JSON ({error}); correct the file'
        ) from error
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
        f'{path} contains {key!r}, which is neither a class name nor a label '
        f'(0 to {len(names) - 1}); correct it{nearest(str(key), names)}'
    )


def _sums(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the pixels of each class in a confusion matrix.

    Args:
        confusion (np.ndarray): Confusion matrix of L labels, (L, L + 1).

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: Numbers of ground-truth
        pixels, of predicted pixels and of correctly predicted pixels of each
        class, (L,) each.
    """
    labelled = confusion[:, : len(confusion)]
    return confusion.sum(axis=1), labelled.sum(axis=0), labelled.diagonal()


def _percent(part: float, whole: float | np.integer) -> float:
    return 100 * float(part) / float(whole) if whole else float('nan')
