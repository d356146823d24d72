# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
@dataclass(eq=False)
class SkipUnseenImages(BaseTransform):
    """Skip images without a seen class; the data set then draws another one.

    Place it after :class:`LoadOpenVocabAnnotations`, before transforms that
    crop the label map.

    Required keys: ``gt_seg_map``. Optional keys: ``seen_labels``, which an
    :class:`OpenVocabDataset` adds if it hides unseen labels; without it no
    image is skipped. The result is None if no pixel has a seen label.
    """

    def transform(self, results: dict) -> dict | None:
        """Return the sample, or None.

        Args:
            results (dict): The sample.

        Returns:
            dict, optional: The sample, unchanged, or None.
        """
        seen = results.get('seen_labels')
        if seen is None or np.isin(results['gt_seg_map'], seen).any():
            return results
        return None
