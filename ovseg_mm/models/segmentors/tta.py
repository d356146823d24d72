# SPDX-License-Identifier: Apache-2.0
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
)

from .base import BaseOpenVocabSegmentor


@MODELS.register_module()
class OpenVocabTTAModel(BaseTTAModel):
    """Model for test-time augmentation, which averages scores.

    The variants of an image are its augmented copies, such as a flipped copy.
    The label of a pixel comes from the mean of the scores of all variants.
    """

    # Unlike other TTA models, this one leaves pixels below the threshold
    # unlabelled.
    has_threshold = True

    def merge_preds(
        self, data_samples_list: list[list[SegDataSample]]
    ) -> list[SegDataSample]:
        """Average the scores of the variants of each image.

        Args:
            data_samples_list (list[list[SegDataSample]]): For each image, the
                samples of its variants, with ``seg_logits``, scores of L
                labels, (L, H, W).

        Returns:
            list[SegDataSample]: One sample per image, with labels and mean
            scores.
        """
        merged = []
        for samples in data_samples_list:
            scores = samples[0].seg_logits.data.clone()
            for sample in samples[1:]:
                scores += sample.seg_logits.data
            scores /= len(samples)
            labels = self.module.labelling.labels_of(scores)
            result = samples[0]
            result.pred_sem_seg = PixelData(data=labels[None])
            result.seg_logits = PixelData(data=scores)
            merged.append(result)
        return merged


def _announce(owner: nn.Module, name: str, module: nn.Module | None) -> None:
    """Set ``tta_model`` of a segmentor that becomes part of a TTA model.

    The segmentor then stores scores, which the TTA model averages. PyTorch
    calls this function whenever a module becomes the child of another.
    """
    if not isinstance(module, BaseOpenVocabSegmentor):
        return
    if isinstance(owner, BaseTTAModel):
        module.tta_model = type(owner)


register_module_module_registration_hook(_announce)
