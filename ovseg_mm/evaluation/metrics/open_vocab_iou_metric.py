# SPDX-License-Identifier: Apache-2.0
"""Intersection over union for large and open sets of classes.

Letters: L labels; over all pixels that count, C[t, p] pixels of truth t
predicted as p, TP = diag(C), G = C.sum(1), P = C.sum(0),
IoU = TP / (G + P - TP).
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from mmseg.registry import METRICS
from prettytable import PrettyTable
from torch import Tensor

from ovseg_mm.datasets.image_files import sample_name, write_label_map
from ovseg_mm.datasets.transforms.loading import check_label_values


@METRICS.register_module()
class OpenVocabIoUMetric(BaseMetric):
    """Mean IoU under both averaging rules in use, and over seen and unseen.

    The rules differ by what a class counts that is predicted but never
    occurs in the truth (114 of 459 classes in PASCAL-Context 459):

    - ``mIoU``, "present": the mean over the classes with G > 0. Current
      detectron2, hence CAT-Seg, FC-CLIP, SAN's logs.
    - ``mIoU_union``: such a class enters the mean with 0. MMSegmentation,
      older detectron2, hence OVSeg, SCAN, ZSSeg.

    Besides these: ``aAcc`` = sum(TP) / sum(G), ``mAcc`` = mean of TP / G and
    ``fwIoU`` = sum(G * IoU) / sum(G) over the classes present, all in
    percent. If some labels are unseen: ``mIoU_seen`` and ``mIoU_unseen``,
    means over the classes present in each subset, and ``hIoU``, their
    harmonic mean.

    Args:
        ignore_index: Truth value of pixels that do not count. By default 255
            or, for more than 255 labels, 65535.
        subsets: ``dict(seen=..., unseen=...)`` with label indices. By
            default ``unseen`` is that of the data set's meta information,
            and ``seen`` is the rest.
        output_dir: Folder into which label maps are written as PNGs named
            after the images: 8 bits, or 16 if the labels need it; in the
            numbering of the data set's own files, that is one higher if it
            has ``reduce_zero_label``, and ``label_map`` undone.
        format_only: Whether only to write these files: images need no
            labels then.
        keep_results: Accepted because MMSegmentation's test script sets it;
            written files are always kept.
        collect_device: See :class:`mmengine.evaluator.BaseMetric`.
        collect_dir: See :class:`mmengine.evaluator.BaseMetric`.
        prefix: See :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ValueError: If ``format_only`` is set without ``output_dir``.
    """

    def __init__(
        self,
        ignore_index: int | None = None,
        subsets: Mapping[str, Sequence[int]] | None = None,
        output_dir: str | PathLike | None = None,
        format_only: bool = False,
        keep_results: bool = True,
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(
            collect_device=collect_device,
            collect_dir=collect_dir,
            prefix=prefix,
        )
        if format_only and output_dir is None:
            raise ValueError(
                'OpenVocabIoUMetric with format_only=True needs an '
                'output_dir to write to.'
            )
        if subsets is not None and set(subsets) != {'seen', 'unseen'}:
            raise ValueError(
                'subsets of OpenVocabIoUMetric is dict(seen=[...], '
                f'unseen=[...]); found the keys {sorted(subsets)}.'
            )
        self.ignore_index = ignore_index
        self.subsets = subsets
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.format_only = format_only
        if self.output_dir is not None:
            self.output_dir.mkdir(parents=True, exist_ok=True)

    @property
    def num_labels(self) -> int:
        """Number of labels L of the data set."""
        return len(self.dataset_meta['classes'])

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the label pairs of each image of a batch.

        Args:
            data_batch: Not used.
            data_samples: Predictions: ``pred_sem_seg['data']`` of shape
                (1, H, W), and ``gt_sem_seg['data']`` of the same shape.

        Raises:
            ValueError: If truth and prediction do not fit each other or the
                labels of the data set; the message names the file.
        """
        for sample in data_samples:
            prediction = sample['pred_sem_seg']['data'].squeeze(0).long()
            if self.output_dir is not None:
                self._write(sample, prediction)
            if not self.format_only:
                self.results.append(self._count_pairs(sample, prediction))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Add up the pairs and average.

        Args:
            results: For each image, what :meth:`process` counted.

        Returns:
            The figures named in the class docstring, in percent; NaN where
            nothing is there to be averaged.
        """
        logger = MMLogger.get_current_instance()
        if self.format_only:
            print_log(f'Label maps are in {self.output_dir}', logger)
            return {}
        size = self.num_labels
        counts = np.zeros(size * size, dtype=np.int64)
        for pairs, pixels in results:
            # Each pair occurs once in the list of an image.
            counts[pairs] += pixels
        confusion = counts.reshape(size, size)
        scores = _class_scores(confusion)
        unseen = self._subset('unseen')
        metrics = _averages(confusion, scores)
        if len(unseen) > 0:
            metrics.update(
                _subset_averages(scores['IoU'], self._subset('seen'), unseen)
            )
        self._log_table(confusion, scores, unseen, logger)
        return metrics

    def _subset(self, key: str) -> list[int]:
        if self.subsets is not None:
            labels = list(self.subsets[key])
        else:
            unseen = self.dataset_meta.get('unseen', ())
            labels = [
                label
                for label in range(self.num_labels)
                if (label in unseen) == (key == 'unseen')
            ]
        wrong = sorted(set(labels).difference(range(self.num_labels)))
        if wrong:
            raise ValueError(
                f'The subset {key!r} holds {wrong}, but the data set has '
                f'{self.num_labels} labels.'
            )
        return labels

    def _count_pairs(
        self, sample: dict, prediction: Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the values ``truth * L + prediction`` and their counts."""
        path = sample.get('seg_map_path') or sample.get('img_path')
        if 'gt_sem_seg' not in sample:
            raise ValueError(
                f'There are no labels for {path}; to write predictions '
                'without evaluating them set output_dir and format_only=True '
                'of the metric.'
            )
        truth = sample['gt_sem_seg']['data'].squeeze(0).long()
        truth = truth.to(prediction.device)
        if truth.shape != prediction.shape:
            raise ValueError(
                f'{path} has labels of shape {tuple(truth.shape)}, but its '
                f'prediction has shape {tuple(prediction.shape)}.'
            )
        size, ignore = self.num_labels, self.ignore_index
        if ignore is None:
            ignore = 255 if size <= 255 else 65535
        counted = truth != ignore
        truth, prediction = truth[counted], prediction[counted]
        if truth.numel() and not 0 <= truth.min() <= truth.max() < size:
            check_label_values(truth.cpu().numpy(), size, ignore, path)
        if truth.numel() and not (
            0 <= prediction.min() <= prediction.max() < size
        ):
            raise ValueError(
                f'The prediction for {path} holds label '
                f'{int(prediction.max())}, but the data set has {size} '
                'labels; give model and data set the same vocabulary.'
            )
        pixels = torch.bincount(truth * size + prediction)
        pairs = pixels.nonzero().squeeze(1)
        return pairs.cpu().numpy(), pixels[pairs].cpu().numpy()

    def _write(self, sample: dict, prediction: Tensor) -> None:
        values = np.arange(self.num_labels)
        for value, label in sample.get('label_map', {}).items():
            if label < self.num_labels:
                values[label] = value
        values += int(bool(sample.get('reduce_zero_label', False)))
        write_label_map(
            self.output_dir / f'{sample_name(sample)}.png',
            values[prediction.cpu().numpy()],
            int(values.max()) + 1,
        )

    def _log_table(
        self,
        confusion: np.ndarray,
        scores: dict[str, np.ndarray],
        unseen: list[int],
        logger: MMLogger,
    ) -> None:
        table = PrettyTable()
        names = self.dataset_meta['classes']
        table.add_column(
            'Class',
            [
                f'{name} (unseen)' if label in set(unseen) else name
                for label, name in enumerate(names)
            ],
        )
        for key, values in scores.items():
            table.add_column(
                key,
                ['-' if np.isnan(x) else f'{100 * x:.2f}' for x in values],
            )
        print_log(f'per class results:\n{table.get_string()}', logger)
        present = confusion.sum(axis=1) > 0
        absent = ~present & (confusion.sum(axis=0) > 0)
        print_log(
            f'mIoU is the mean over the {present.sum()} of {len(names)} '
            'classes that occur in the labels; mIoU_union also counts, as 0, '
            f'the {absent.sum()} that were predicted but do not occur.',
            logger,
        )


def _class_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Compute IoU and accuracy of each class, NaN where it is absent."""
    hits = confusion.diagonal()
    truth, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid='ignore'):
        accuracy = hits / truth
        # A class that is only predicted has IoU 0, but no truth to judge:
        # it is NaN here, and mIoU_union counts it.
        iou = np.where(truth > 0, hits / (truth + predicted - hits), np.nan)
    return dict(IoU=iou, Acc=accuracy)


def _averages(
    confusion: np.ndarray, scores: dict[str, np.ndarray]
) -> dict[str, float]:
    truth, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    iou = np.nan_to_num(scores['IoU'])
    return dict(
        aAcc=_percent(confusion.trace(), truth.sum()),
        mIoU=_percent(iou.sum(), np.count_nonzero(truth)),
        mIoU_union=_percent(iou.sum(), np.count_nonzero(truth + predicted)),
        mAcc=_percent(
            np.nan_to_num(scores['Acc']).sum(), np.count_nonzero(truth)
        ),
        fwIoU=_percent((truth * iou).sum(), truth.sum()),
    )


def _subset_averages(
    iou: np.ndarray, seen: list[int], unseen: list[int]
) -> dict[str, float]:
    means = {}
    for key, labels in dict(seen=seen, unseen=unseen).items():
        present = iou[labels][~np.isnan(iou[labels])]
        means[key] = _percent(present.sum(), len(present))
    total = means['seen'] + means['unseen']
    product = 2 * means['seen'] * means['unseen']
    return dict(
        mIoU_seen=means['seen'],
        mIoU_unseen=means['unseen'],
        hIoU=product / total if total != 0 else 0.0,
    )


def _percent(part: float, whole: float) -> float:
    return 100 * float(part) / float(whole) if whole else float('nan')
