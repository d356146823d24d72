# SPDX-License-Identifier: Apache-2.0
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

from ovseg_mm.datasets.transforms.loading import check_label_values
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import sample_name, write_label_map
from ovseg_mm.utils.paths import path_inside

from ..scores import (
    IOU_METRICS,
    averages,
    class_scores,
    load_relations,
    overlap_scores,
    zero_shot_averages,
)


@METRICS.register_module()
class OpenVocabIoUMetric(BaseMetric):
    """Mean IoU under both averaging rules in use, and over seen and unseen.

    The rules differ by what a class counts that is predicted but never
    occurs in the truth (114 of 459 classes in PASCAL-Context 459 are not in
    the truth):

    - ``mIoU``, "present": the mean over the classes that occur in the truth.
      Current detectron2, hence CAT-Seg, FC-CLIP, SAN's logs.
    - ``mIoU_union``: such a class enters the mean with 0. MMSegmentation,
      older detectron2, hence OVSeg, SCAN, ZSSeg.

    Besides these ``aAcc``, ``mAcc`` and ``fwIoU``; if some labels are unseen
    ``mIoU_seen``, ``mIoU_unseen`` and ``hIoU``; with ``relations`` all of the
    former again, prefixed ``SG_``. Formulas:
    :mod:`ovseg_mm.evaluation.scores`. A pixel without a predicted label (the
    vocabulary's ignore label) is a miss of its class and no hit of another.

    Args:
        ignore_index (int, optional): Truth value of pixels that do not count.
            By default 255 or, for more than 255 labels, 65535.
        subsets (Mapping[str, Sequence[int]], optional): ``dict(seen=...,
            unseen=...)`` with label indices. By default ``unseen`` is that of
            the data set's meta information, and ``seen`` is the rest.
        relations (str | PathLike, optional): JSON file that says which classes
            are kinds of which others, see
            :func:`ovseg_mm.evaluation.scores.load_relations`.
        iou_metrics (str | Sequence[str]): What is given besides, as
            MMSegmentation's ``IoUMetric`` computes it: ``'mDice'``;
            ``'mFscore'`` with ``mPrecision`` and ``mRecall``. ``'mIoU'`` is
            always given.
        nan_to_num (float, optional): Replaces scores of classes that are not
            defined, in the table and in the averages of ``iou_metrics``. None:
            they are left out.
        beta (float): Weight of the recall in ``mFscore``.
        per_class (bool): Whether the scores of each class are given too, as
            ``IoU.NAME`` and ``Acc.NAME``, for logs and ``save_best``.
        output_dir (str | PathLike, optional): Folder into which label maps are
            written as PNGs named after the images: 8 bits, or 16 if the labels
            need it; in the numbering of the data set's own files, that is one
            higher if it has ``reduce_zero_label``, and ``label_map`` undone.
        format_only (bool): Whether only to write these files: images need no
            labels then.
        keep_results (bool): Accepted because MMSegmentation's test script sets
            it; written files are always kept.
        collect_device (str): See :class:`mmengine.evaluator.BaseMetric`.
        collect_dir (str, optional): See
            :class:`mmengine.evaluator.BaseMetric`.
        prefix (str, optional): See :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ValueError: If ``format_only`` is set without ``output_dir``.
    """

    def __init__(
        self,
        ignore_index: int | None = None,
        subsets: Mapping[str, Sequence[int]] | None = None,
        relations: str | PathLike | None = None,
        iou_metrics: str | Sequence[str] = 'mIoU',
        nan_to_num: float | None = None,
        beta: float = 1,
        per_class: bool = False,
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
        if isinstance(iou_metrics, str):
            iou_metrics = [iou_metrics]
        unknown = sorted(set(iou_metrics) - set(IOU_METRICS))
        if unknown:
            raise InputError(
                f'iou_metrics of OpenVocabIoUMetric has {unknown}; known are '
                f'{", ".join(IOU_METRICS)}.'
            )
        if subsets is not None and set(subsets) != {'seen', 'unseen'}:
            raise ValueError(
                'subsets of OpenVocabIoUMetric is dict(seen=[...], '
                f'unseen=[...]); found the keys {sorted(subsets)}.'
            )
        self.ignore_index = ignore_index
        self.subsets = subsets
        self.relations = relations
        self.iou_metrics = tuple(iou_metrics)
        self.nan_to_num = nan_to_num
        self.beta = beta
        self.per_class = per_class
        self._parents: dict[int, list[int]] | None = None
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.format_only = format_only
        if self.output_dir is not None:
            self.output_dir.mkdir(parents=True, exist_ok=True)

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        """Take the names of the labels; the subsets and relations must fit."""
        self._dataset_meta = meta
        for key in ('seen', 'unseen'):
            self._subset(key)
        if self.relations is not None:
            self._parents = load_relations(self.relations, meta['classes'])

    @property
    def num_labels(self) -> int:
        """Number of labels L of the data set."""
        return len(self.dataset_meta['classes'])

    @property
    def no_label(self) -> int:
        """Predicted value of pixels that got none of the L labels."""
        return 255 if self.num_labels <= 255 else 65535

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the label pairs of each image of a batch.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): Predictions:
                ``pred_sem_seg['data']`` of shape (1, H, W), and
                ``gt_sem_seg['data']`` of the same shape.

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
            results (list): For each image, what :meth:`process` counted.

        Returns:
            dict[str, float]: The figures named in the class docstring, in
            percent; NaN where nothing is there to be averaged.
        """
        logger = MMLogger.get_current_instance()
        if self.format_only:
            print_log(f'Label maps are in {self.output_dir}', logger)
            return {}
        confusion = self._add_up(results)
        metrics, scores = self._figures(confusion)
        self._log_table(confusion, scores, self._subset('unseen'), logger)
        return metrics

    @property
    def figures(self) -> list[str]:
        """Keys that :meth:`compute_metrics` gives for this data set."""
        if self.format_only:
            return []
        return list(self._figures(self._add_up([]))[0])

    def _figures(
        self, confusion: np.ndarray
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Figures in percent, and the scores of each class, in [0, 1]."""
        scores = class_scores(confusion)
        unseen = self._subset('unseen')
        metrics = averages(confusion, scores)
        if len(unseen) > 0:
            metrics.update(
                zero_shot_averages(scores['IoU'], self._subset('seen'), unseen)
            )
        if self._parents is not None:
            guided = class_scores(confusion, self._parents)
            scores.update(SG_IoU=guided['IoU'], SG_Acc=guided['Acc'])
            for key, value in averages(confusion, guided).items():
                metrics[f'SG_{key}'] = value
        others = overlap_scores(confusion, self.iou_metrics, self.beta)
        scores.update(others)
        if self.nan_to_num is not None:
            scores = {
                key: np.nan_to_num(values, nan=self.nan_to_num)
                for key, values in scores.items()
            }
        for key in others:
            defined = scores[key][~np.isnan(scores[key])]
            mean = defined.mean() if len(defined) else np.nan
            metrics[f'm{key}'] = 100 * float(mean)
        if self.per_class:
            for key in ('IoU', 'Acc'):
                for name, value in zip(
                    self.dataset_meta['classes'], scores[key]
                ):
                    metrics[f'{key}.{name}'] = 100 * float(value)
        return metrics, scores

    def _add_up(self, results: list) -> np.ndarray:
        """Confusion matrix (L, L + 1) int64 of all images."""
        size = self.num_labels
        counts = np.zeros(size * (size + 1), dtype=np.int64)
        for pairs, pixels in results:
            # Each pair occurs once in the list of an image.
            counts[pairs] += pixels
        return counts.reshape(size, size + 1)

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
        """Return ``truth * (L + 1) + prediction`` and how often each is."""
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
            ignore = self.no_label
        counted = truth != ignore
        truth, prediction = truth[counted], prediction[counted]
        if truth.numel() and not 0 <= truth.min() <= truth.max() < size:
            check_label_values(truth.cpu().numpy(), size, ignore, path)
        labelled = prediction[prediction != self.no_label]
        if (
            labelled.numel()
            and not 0 <= labelled.min() <= labelled.max() < size
        ):
            raise ValueError(
                f'The prediction for {path} holds label '
                f'{int(labelled.max())}, but the data set has {size} '
                'labels; give model and data set the same vocabulary.'
            )
        # The last column is for pixels without a label.
        pixels = torch.bincount(
            truth * (size + 1) + prediction.clamp(max=size)
        )
        pairs = pixels.nonzero().squeeze(1)
        return pairs.cpu().numpy(), pixels[pairs].cpu().numpy()

    def has_written(self, sample: dict) -> bool:
        """Whether all that is to be written of a sample is there.

        Args:
            sample (dict): With ``sample_name`` or ``img_path``.
        """
        return self.output_dir is None or self._file_of(sample).is_file()

    def _file_of(self, sample: dict) -> Path:
        return path_inside(self.output_dir, f'{sample_name(sample)}.png')

    def _write(self, sample: dict, prediction: Tensor) -> None:
        values = np.arange(self.num_labels + 1)
        for value, label in (sample.get('label_map') or {}).items():
            if label < self.num_labels:
                values[label] = value
        values += int(bool(sample.get('reduce_zero_label', False)))
        values[-1] = self.no_label
        write_label_map(
            self._file_of(sample),
            values[prediction.cpu().clamp(max=self.num_labels).numpy()],
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
        zero_shot = len(unseen) > 0
        absent = ~present & (confusion.sum(axis=0)[:-1] > 0)
        print_log(
            f'mIoU is the mean over the {present.sum()} of {len(names)} '
            'classes that occur in the labels; mIoU_union also counts, as 0, '
            f'the {absent.sum()} that were predicted but do not occur'
            f'{", as do the figures of seen and unseen classes" * zero_shot}.',
            logger,
        )
