# SPDX-License-Identifier: Apache-2.0
"""CLIP as a classifier of masked crops, with which ZSSeg learns its prompts.

Letters: B crops, T class texts, H x W pixels of a crop.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from ovseg_mm.utils.clip_statistics import CLIP_UNIT_MEAN
from ovseg_mm.vocabulary import Vocabulary, load_vocabulary

from ..clip_towers import with_tower_options
from ..text_encoder import TextBank
from ..text_model import TextModel
from ..utils import cosine_logits


@MODELS.register_module()
class ClassCropClassifier(TextModel):
    """Classifies masked crops by their cosine similarities with class texts.

    Crops come from a :class:`ClassCropDataset`. Each sample holds the label
    of the crop as ``crop_label`` in the meta information, and the mask of the
    class as ``gt_sem_seg`` (1 inside the mask).

    Args:
        image_encoder (dict): Config of the image tower.
        text_encoder (dict): Config of the text tower.
        vocabulary (Vocabulary | str | list | dict): Class texts of validation
            and test, one for each label, see
            :func:`ovseg_mm.vocabulary.load_vocabulary`.
        train_vocabulary (Vocabulary | str | list | dict, optional): Class
            texts of training, one for each label. None: ``vocabulary``.
        clip (dict): Architecture and weights of the CLIP towers, with the
            keys that :class:`BaseOpenVocabSegmentor` lists.
        prompts (dict): Arguments of :class:`TextBank`.
        temperature (float): Number by which cosine similarities are
            multiplied.
        data_preprocessor (dict, optional): Config of the preprocessor.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    # Name of the method in messages about checkpoints.
    method = 'ZSSeg, learned prompts'
    option_dicts: ClassVar[dict] = dict(prompts=TextBank)

    def __init__(
        self,
        image_encoder: dict,
        text_encoder: dict,
        vocabulary: Vocabulary | str | list | dict,
        train_vocabulary: Vocabulary | str | list | dict | None = None,
        clip: dict | None = None,
        prompts: dict | None = None,
        temperature: float = 100.0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.clip = dict(clip or {})
        self.image_encoder = MODELS.build(
            with_tower_options(image_encoder, self.clip)
        )
        self.text_encoder = MODELS.build(
            with_tower_options(text_encoder, self.clip)
        )
        self.text_bank = TextBank(**(prompts or {}))
        self.vocabulary = load_vocabulary(vocabulary)
        self.train_vocabulary = load_vocabulary(train_vocabulary or vocabulary)
        self.temperature = temperature
        # ZSSeg fills normalised crops with CLIP's mean colour as it is, not
        # normalised.
        colour = torch.tensor(CLIP_UNIT_MEAN)[:, None, None]
        self.register_buffer('fill', colour, persistent=False)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[SegDataSample],
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[SegDataSample]:
        """Classify crops.

        Args:
            inputs (Tensor): Normalised crops, (B, 3, H, W).
            data_samples (list[SegDataSample]): Masks and labels of the B
                crops.
            mode (str): Result to return: ``'loss'``, ``'predict'`` or
                ``'tensor'``.

        Returns:
            For ``'tensor'``, logits of T class texts, (B, T). For ``'loss'``,
            a dict with the cross-entropy as ``loss_ce``. For ``'predict'``,
            ``data_samples`` with the predicted label added to their meta
            information as ``pred_crop_label``.
        """
        if mode == 'loss':
            logits = self._logits(inputs, data_samples, self.train_vocabulary)
            labels = [sample.crop_label for sample in data_samples]
            targets = torch.tensor(labels, device=logits.device)
            return dict(loss_ce=F.cross_entropy(logits, targets))
        logits = self._logits(inputs, data_samples, self.vocabulary)
        if mode == 'tensor':
            return logits
        for sample, label in zip(data_samples, logits.argmax(1).tolist()):
            sample.set_metainfo(dict(pred_crop_label=label))
        return data_samples

    def _logits(
        self,
        inputs: Tensor,
        data_samples: list[SegDataSample],
        vocabulary: Vocabulary,
    ) -> Tensor:
        masks = torch.stack([s.gt_sem_seg.data for s in data_samples]) == 1
        crops = torch.where(masks, inputs, self.fill)
        text = self.text_embeddings(vocabulary)[:, 0]
        image = self.image_encoder(crops).cls
        return cosine_logits(image, text, self.temperature)
