# SPDX-License-Identifier: Apache-2.0
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SkipUnseenImages(BaseTransform):
    """Have another image drawn where nothing seen is shown.

    Training then draws from the images that show a seen class, as from a
    list of them, but no list is made beforehand. To be put behind
    :class:`LoadOpenVocabAnnotations`, where the label map is whole.

    Required keys: ``gt_seg_map``. Read if there is any: ``seen_labels``, from
    an :class:`OpenVocabDataset` that hides unseen labels; without it every
    image passes. The result is None if no pixel has one of these labels.
    """

    def transform(self, results: dict) -> dict | None:
        """Pass the sample on, or None."""
        seen = results.get('seen_labels')
        if seen is None or np.isin(results['gt_seg_map'], seen).any():
            return results
        return None

    def __repr__(self) -> str:
        """Name the transform."""
        return f'{type(self).__name__}()'
