# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS


@METRICS.register_module()
class CropAccuracyMetric(BaseMetric):
    """Accuracy of the classification of image crops, in percent.

    Each crop has one true class. The metric ``accuracy`` is the percentage of
    correctly classified crops. The metric ``class_accuracy`` is the mean
    accuracy of the classes that have crops. The arguments are the same as for
    :class:`mmengine.evaluator.BaseMetric`.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store the true and predicted labels of a batch of crops.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): Samples with the true label
                ``crop_label`` and the predicted label ``pred_crop_label``.
        """
        self.results += [
            (sample['crop_label'], sample['pred_crop_label'])
            for sample in data_samples
        ]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the two metrics from the labels of all crops.

        Args:
            results (list): Pair of true and predicted label of each crop.

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
