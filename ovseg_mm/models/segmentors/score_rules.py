# SPDX-License-Identifier: Apache-2.0
"""Which texts are scored, and how their scores become labels."""

from functools import lru_cache

import torch
from mmengine.config import ConfigDict
from torch import Tensor

from ovseg_mm.inference import Labelling
from ovseg_mm.vocabulary import Vocabulary, load_vocabulary

from ..decode_heads import BaseOpenVocabHead
from ..text_model import TextModel


class ScoreRules(TextModel):
    """Thresholds and texts of a segmentor, from vocabulary and ``test_cfg``.

    Letters: T scored class texts.
    """

    decode_head: BaseOpenVocabHead
    test_cfg: ConfigDict

    # Class of the TTA model that contains this model, if any.
    tta_model: type | None = None

    @property
    def score_threshold(self) -> float | None:
        """Score that a pixel must exceed to be labelled.

        A vocabulary of one label needs a threshold unless background words
        are scored too: otherwise its label wins every pixel. None with
        ``logit_scale``, see ``prob_thd``.
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
        """Score that separates classes from background if none is given.

        That of ``test_cfg``, or of the head. None if scores depend on the
        number of texts.
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
        """The vocabulary, followed by the texts of ``test_cfg.others``."""
        others = self.test_cfg.get('others')
        if others is None and self._needs_others:
            others = self.test_cfg.get('others_of_one', 'background_words')
        if not others:
            return self.vocabulary
        return _joined(self.vocabulary, load_vocabulary(others))

    @property
    def _needs_others(self) -> bool:
        """Whether the only label would win everywhere.

        The softmax over one text is 1, so no threshold helps.
        """
        if self.vocabulary.num_labels > 1:
            return False
        if self.test_cfg.get('logit_scale') is not None:
            return True
        return (
            self.decode_head.compares_texts
            # A file of embeddings cannot embed other texts, and TTA averages
            # the scores of labels only.
            and all(side.bank.embeddings is None for side in self.text_sides)
            and self.tta_model is None
        )

    @property
    def labelling(self) -> Labelling:
        """How fused scores become labels."""
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
        """Texts whose label is not unseen.

        Args:
            device (torch.device): Device of the mask.

        Returns:
            Tensor: (T,) bool.
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
