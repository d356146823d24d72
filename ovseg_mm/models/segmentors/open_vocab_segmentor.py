# SPDX-License-Identifier: Apache-2.0
import torch
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor

from .base import BaseOpenVocabSegmentor


@MODELS.register_module()
class OpenVocabSegmentor(BaseOpenVocabSegmentor):
    """Dense head on image features and text embeddings.

    See :class:`BaseOpenVocabSegmentor` for the arguments. The head is called
    as ``decode_head(feats, text)`` and gives logits (B, T, h, w).
    """

    def encode_decode(
        self, inputs: Tensor, batch_img_metas: list[dict] | None = None
    ) -> Tensor:
        """Logits of views, (B, 3, H, W) to (B, T, h, w)."""
        text = self.text_embeddings(self.vocabulary)
        return self.decode_head(self.extract_feat(inputs), text)

    def loss(
        self, inputs: Tensor, data_samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            inputs (Tensor): Normalised images, (B, 3, H, W).
            data_samples (list[SegDataSample]): With ``gt_sem_seg``.

        Returns:
            dict[str, Tensor]: Losses by name.

        Raises:
            ValueError: If a label does not stand for a text of the training
                vocabulary.
        """
        vocabulary = self.train_vocabulary
        labels = [sample.gt_sem_seg.data[0] for sample in data_samples]
        labels = torch.stack(labels).long()
        self._check_labels(labels, data_samples)
        losses = self.decode_head.loss(
            self.extract_feat(inputs),
            self.text_embeddings(vocabulary),
            labels,
            vocabulary.ignore_label,
        )
        return add_prefix(losses, 'decode')

    def _forward(
        self,
        inputs: Tensor,
        data_samples: list[SegDataSample] | None = None,
    ) -> Tensor:
        return self.encode_decode(inputs)

    def _check_labels(
        self, labels: Tensor, data_samples: list[SegDataSample]
    ) -> None:
        vocabulary = self.train_vocabulary
        wrong = (labels < 0) | (labels >= vocabulary.num_labels)
        wrong &= labels != vocabulary.ignore_label
        if not wrong.any():
            return
        image = int(wrong.flatten(1).any(dim=1).nonzero()[0])
        values = labels[image][wrong[image]].unique().tolist()
        path = data_samples[image].metainfo.get('seg_map_path', 'a label map')
        raise ValueError(
            f'{path} has the labels {values}, but the training vocabulary '
            f'{vocabulary.source} has {vocabulary.num_labels} labels, 0 to '
            f'{vocabulary.num_labels - 1}, and {vocabulary.ignore_label} for '
            'ignored pixels; choose the vocabulary of the data set or set '
            'reduce_zero_label'
        )
