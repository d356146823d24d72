# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
@dataclass(eq=False)
class SkipUnseenImages(BaseTransform):
    """Skip images without a seen class.

    In training, the data set then loads another image, chosen at random.

    In a pipeline, place this transform after
    :class:`LoadOpenVocabAnnotations` and before transforms that crop the
    label map.

    Required keys: ``gt_seg_map``.

    Optional keys: ``seen_labels``, the labels of the seen classes. An
    :class:`OpenVocabDataset` adds this key if its ``unseen_labels`` is
    ``'ignore'`` or ``'mark'``. Without this key, no image is skipped.
    """

    def transform(self, results: dict) -> dict | None:
        """Return a sample, or None if it shows no seen class.

        Args:
            results (dict): Sample with ``gt_seg_map``.

        Returns:
            dict, optional: The same sample; None if no pixel has a seen
            label.
        """
        seen = results.get('seen_labels')
        if seen is None or np.isin(results['gt_seg_map'], seen).any():
            return results
        return None
