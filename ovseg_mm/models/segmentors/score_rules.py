# SPDX-License-Identifier: Apache-2.0
"""Rules of a segmentor: which texts are scored, how pixels get labels."""

from functools import lru_cache

import torch
from mmengine.config import ConfigDict
from torch import Tensor

from ovseg_mm.inference import Labelling
from ovseg_mm.vocabulary import Vocabulary, load_vocabulary

from ..decode_heads import BaseOpenVocabHead
from ..text_model import TextModel


class ScoreRules(TextModel):
    """Base class: decides which texts are scored and how pixels get labels.

    Both follow from the vocabulary and ``test_cfg``.

    Letters: T scored class texts.
    """

    decode_head: BaseOpenVocabHead
    test_cfg: ConfigDict

    # Class of the TTA model that contains this model, if any.
    tta_model: type | None = None

    @property
    def score_threshold(self) -> float | None:
        """Threshold that the score of a labelled pixel exceeds, or None.

        It is ``test_cfg.threshold``. If only one label is scored, the default
        is the threshold of the head, since this label would win every pixel.
        With ``logit_scale`` it is None, because ``prob_thd`` applies.
        """
        if self.test_cfg.get('logit_scale') is not None:
            return None
        threshold = self.test_cfg.get('threshold')
        if threshold is None and self.scored_vocabulary.num_labels == 1:
            threshold = self.decode_head.threshold
            if not self.vocabulary.unseen:
                threshold -= self.test_cfg.get('seen_penalty', 0.0)
        return threshold

    @property
    def default_threshold(self) -> float | None:
        """Threshold between classes and background if the user gives none.

        It is the threshold of ``test_cfg`` or else of the head. It is None if
        the scores of the head depend on the number of texts.
        """
        cfg = self.test_cfg
        if cfg.get('logit_scale') is not None:
            return cfg.get('prob_thd') or None
        threshold = cfg.get('threshold')
        if threshold is None and not self.decode_head.compares_texts:
            threshold = self.decode_head.threshold
        return threshold

    @property
    def scored_vocabulary(self) -> Vocabulary:
        """Class texts to score: the vocabulary, then ``test_cfg.others``."""
        others = self.test_cfg.get('others')
        if others is None and self._needs_others:
            others = self.test_cfg.get('others_of_one', 'background_words')
        if not others:
            return self.vocabulary
        return _joined(self.vocabulary, load_vocabulary(others))

    @property
    def _needs_others(self) -> bool:
        """Whether the only label of the vocabulary would win every pixel.

        For example, a softmax over one text is 1 at every pixel.
        """
        if self.vocabulary.num_labels > 1:
            return False
        if self.test_cfg.get('logit_scale') is not None:
            return True
        return (
            self.decode_head.compares_texts
            # A file of embeddings has no other texts. A TTA model averages
            # only the scores of labels, not of other texts.
            and all(side.bank.embeddings is None for side in self.text_sides)
            and self.tta_model is None
        )

    @property
    def labelling(self) -> Labelling:
        """Rule that converts the fused scores of texts to labels."""
        cfg, vocabulary = self.test_cfg, self.vocabulary
        others = self.scored_vocabulary.num_texts - vocabulary.num_texts
        background = vocabulary.label_named(
            cfg.get('background', 'background')
        )
        rest = vocabulary.ignore_label if background is None else background
        return Labelling(
            (*vocabulary.prompt_to_label, *[rest] * others),
            vocabulary.num_labels,
            vocabulary.ignore_label,
            self.score_threshold,
            cfg.get('logit_scale'),
            cfg.get('prob_thd', 0.0),
            cfg.get('area_thd'),
            background,
        )

    def seen_texts(self, device: torch.device) -> Tensor:
        """Which of the scored texts training has seen.

        Args:
            device (torch.device): Device of the result.

        Returns:
            Tensor: False for the texts of unseen labels, (T,) bool.
        """
        unseen = self.vocabulary.unseen
        labels = self.scored_vocabulary.prompt_to_label
        return torch.tensor(
            [label not in unseen for label in labels], device=device
        )


# Called several times per image.
@lru_cache(maxsize=16)
def _joined(vocabulary: Vocabulary, others: Vocabulary) -> Vocabulary:
    return vocabulary.with_others(others.each_text().names, 'other things')
