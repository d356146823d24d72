# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
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
    """Mean IoU of open-vocabulary segmentation, and related metrics.

    Publications average the IoU in two ways, which differ for classes that
    are predicted but do not occur in the ground truth:

    - ``mIoU`` leaves these classes out. Current detectron2, CAT-Seg, FC-CLIP
      and SAN report this mean.
    - ``mIoU_union`` counts these classes as 0. MMSegmentation, older
      detectron2, OVSeg, SCAN and ZSSeg report this mean.

    Other metrics are ``aAcc``, ``mAcc`` and ``fwIoU``. For data sets with
    unseen labels, ``mIoU_seen``, ``mIoU_unseen`` and ``hIoU`` are added. With
    ``relations``, ``SG_mIoU``, ``SG_mIoU_union``, ``SG_aAcc``, ``SG_mAcc``
    and ``SG_fwIoU`` are added. They follow SCAN's SG-IoU: a pixel whose
    predicted class is a parent of its true class counts as partly correct.
    :mod:`ovseg_mm.evaluation.scores` documents the formulas. All metrics are
    in percent.

    The model may give no label to a pixel. The predicted value of this pixel
    is then 255, or 65535 for more than 255 labels. The pixel counts as an
    error of its true class, and of no other class. Class names and unseen
    labels come from the meta information of the data set.

    Args:
        ignore_index (int, optional): Ground-truth value of ignored pixels.
            None: 255, or 65535 for more than 255 labels.
        relations (str | PathLike, optional): JSON file with the parents of
            classes, see :func:`ovseg_mm.evaluation.scores.load_relations`.
        iou_metrics (str | Sequence[str]): Additional metrics, as in
            MMSegmentation's ``IoUMetric``: ``'mDice'``, or ``'mFscore'``
            (with ``mPrecision`` and ``mRecall``). ``'mIoU'`` adds nothing.
        nan_to_num (float, optional): Number that replaces the NaN scores of
            classes in the logged table and in the averages of
            ``iou_metrics``. None: NaN scores are left out of the averages.
        beta (float): Weight of the recall in ``mFscore``.
        per_class (bool): Whether to report also the scores of each class,
            under the keys ``IoU.NAME`` and ``Acc.NAME``.
        output_dir (str | PathLike, optional): Folder to write the predicted
            label maps to, as PNG files named after the images. The pixels
            have the values of the data set's label files: ``label_map`` and
            ``reduce_zero_label`` are undone.
        format_only (bool): Whether to write the label maps without
            evaluation. In this case, the images need no labels.
        keep_results (bool): Not used; accepted because MMSegmentation's test
            script sets it.
        collect_device (str): As in :class:`mmengine.evaluator.BaseMetric`.
        collect_dir (str, optional): As in
            :class:`mmengine.evaluator.BaseMetric`.
        prefix (str, optional): As in :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        InputError: If ``format_only`` is set without ``output_dir``, or an
            entry of ``iou_metrics`` is unknown.
    """

    def __init__(
        self,
        ignore_index: int | None = None,
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
            raise InputError(
                'OpenVocabIoUMetric has format_only=True, but no output_dir; '
                'set output_dir to the folder to write to'
            )
        if isinstance(iou_metrics, str):
            iou_metrics = [iou_metrics]
        unknown = sorted(set(iou_metrics) - set(IOU_METRICS))
        if unknown:
            raise InputError(
                f'iou_metrics of OpenVocabIoUMetric contains {unknown}; '
                f'choose from {", ".join(IOU_METRICS)}'
            )
        self.ignore_index = ignore_index
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
        """Set the meta information of the data set and load ``relations``."""
        wrong = sorted(
            set(meta.get('unseen', ())).difference(range(len(meta['classes'])))
        )
        if wrong:
            raise InputError(
                'the meta information of the data set has the unseen labels '
                f'{wrong}, but its labels are 0 to {len(meta["classes"]) - 1};'
                " correct 'unseen' in the vocabulary of the data set"
            )
        self._dataset_meta = meta
        if self.relations is not None:
            self._parents = load_relations(self.relations, meta['classes'])

    @property
    def num_labels(self) -> int:
        """Number of labels L of the data set."""
        return len(self.dataset_meta['classes'])

    @property
    def no_label(self) -> int:
        """Value of pixels to which the model gives no label, 255 or 65535."""
        return 255 if self.num_labels <= 255 else 65535

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of each pair of true and predicted label.

        With ``output_dir``, the predicted label maps are also written.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): Samples with predicted labels in
                ``pred_sem_seg['data']`` and true labels in
                ``gt_sem_seg['data']``, (1, H, W) each.

        Raises:
            InputError: If true and predicted labels differ in shape, or a
                value is not a label. The message names the file.
        """
        for sample in data_samples:
            prediction = sample['pred_sem_seg']['data'].squeeze(0).long()
            if self.output_dir is not None:
                self._write(sample, prediction)
            if not self.format_only:
                self.results.append(self._count_pairs(sample, prediction))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics, and log a table of the scores of each class.

        Args:
            results (list): Pixel counts of each image, from :meth:`process`.

        Returns:
            dict[str, float]: Metrics that the class docstring lists, in
            percent; NaN if there is no class to average.
        """
        logger = MMLogger.get_current_instance()
        if self.format_only:
            print_log(
                f'the predicted label maps are in {self.output_dir}', logger
            )
            return {}
        confusion = self._add_up(results)
        metrics, scores = self._figures(confusion)
        self._log_table(confusion, scores, logger)
        return metrics

    @property
    def figures(self) -> list[str]:
        """Names of the metrics that are reported for this data set."""
        if self.format_only:
            return []
        return list(self._figures(self._add_up([]))[0])

    def _figures(
        self, confusion: np.ndarray
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Compute all metrics from a confusion matrix.

        Args:
            confusion (np.ndarray): Confusion matrix of L labels, (L, L + 1).

        Returns:
            tuple[dict[str, float], dict[str, np.ndarray]]: Metrics in
            percent, and scores of each class, (L,), in [0, 1].
        """
        scores = class_scores(confusion)
        metrics = averages(confusion, scores)
        if self._unseen:
            seen = set(range(self.num_labels)).difference(self._unseen)
            metrics.update(
                zero_shot_averages(scores['IoU'], sorted(seen), self._unseen)
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
        """Return the confusion matrix of all images, (L, L + 1) int64."""
        size = self.num_labels
        counts = np.zeros(size * (size + 1), dtype=np.int64)
        for pairs, pixels in results:
            # Each pair occurs once per image, so that += counts all.
            counts[pairs] += pixels
        return counts.reshape(size, size + 1)

    @property
    def _unseen(self) -> list[int]:
        return sorted(set(self.dataset_meta.get('unseen', ())))

    def _count_pairs(
        self, sample: dict, prediction: Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """Count the pixels of each pair of true and predicted label.

        Args:
            sample (dict): Sample of one image, with true labels.
            prediction (Tensor): Predicted labels, (H, W).

        Returns:
            tuple[np.ndarray, np.ndarray]: The n pairs of true label t and
            predicted label p that occur, as t * (L + 1) + p for L labels
            (p = L: no label), and the number of pixels of each pair, (n,)
            int64 each.
        """
        path = str(sample.get('seg_map_path') or sample.get('img_path'))
        if 'gt_sem_seg' not in sample:
            raise InputError(
                f'the evaluation needs labels, but there are no labels for '
                f'{path}; set seg_map_path in data_prefix of the data set. To '
                'only write predictions, set output_dir and format_only=True '
                'of the metric'
            )
        truth = sample['gt_sem_seg']['data'].squeeze(0).long()
        truth = truth.to(prediction.device)
        if truth.shape != prediction.shape:
            raise InputError(
                f'{path} has labels of shape {tuple(truth.shape)}, but the '
                f'prediction has the shape {tuple(prediction.shape)}; check '
                'the test pipeline'
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
            raise InputError(
                f'the prediction for {path} holds label '
                f'{int(labelled.max())}, but the data set has {size} '
                'labels; use the same vocabulary for the model and the data '
                'set'
            )
        # Pixels without a predicted label are counted in the last column.
        pixels = torch.bincount(
            truth * (size + 1) + prediction.clamp(max=size)
        )
        pairs = pixels.nonzero().squeeze(1)
        return pairs.cpu().numpy(), pixels[pairs].cpu().numpy()

    def has_written(self, sample: dict) -> bool:
        """Return whether the predicted label map of a sample is written.

        Args:
            sample (dict): Sample with ``sample_name`` or ``img_path``.

        Returns:
            bool: Whether the file of the predicted label map exists. True
            without ``output_dir``, because there is nothing to write.
        """
        return self.output_dir is None or self._file_of(sample).is_file()

    def _file_of(self, sample: dict) -> Path:
        assert self.output_dir is not None, 'no files are written'
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
        logger: MMLogger,
    ) -> None:
        table, unseen = PrettyTable(), set(self._unseen)
        names = self.dataset_meta['classes']
        table.add_column(
            'Class',
            [
                f'{name} (unseen)' if label in unseen else name
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
        absent = ~present & (confusion.sum(axis=0)[:-1] > 0)
        print_log(
            f'mIoU is the mean over the {present.sum()} of {len(names)} '
            'classes that occur in the ground truth. mIoU_union also includes '
            f'the {absent.sum()} classes that were predicted but do not occur '
            'in the ground truth; they count as 0'
            + '. mIoU_seen and mIoU_unseen include them too'
            * bool(unseen),
            logger,
        )
