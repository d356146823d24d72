# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS


@METRICS.register_module()
class CropAccuracyMetric(BaseMetric):
    """Accuracy of the classification of class crops.

    Reports ``accuracy`` over all crops and ``class_accuracy``, the mean over
    the classes that occur, in percent. See
    :class:`mmengine.evaluator.BaseMetric` for the arguments.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store the labels of a batch.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): With ``crop_label`` and
                ``pred_crop_label``.
        """
        self.results += [
            (sample['crop_label'], sample['pred_crop_label'])
            for sample in data_samples
        ]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute both accuracies.

        Args:
            results (list): Pairs of true and predicted label, one per crop.

        Returns:
            dict[str, float]: ``accuracy`` and ``class_accuracy``, in percent.
        """
        truth, found = np.array(results).T
        hits = truth == found
        by_class = [hits[truth == label].mean() for label in np.unique(truth)]
        return dict(
            accuracy=100 * float(hits.mean()),
            class_accuracy=100 * float(np.mean(by_class)),
        )
