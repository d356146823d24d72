# SPDX-License-Identifier: Apache-2.0
"""Rules of a segmentor: which class texts it scores, how pixels get labels."""

from functools import lru_cache

import torch
from mmengine.config import ConfigDict
from torch import Tensor

from ovseg_mm.inference import Labelling
from ovseg_mm.vocabulary import Vocabulary, load_vocabulary

from ..decode_heads import BaseOpenVocabHead
from ..text_model import TextModel


class ScoreRules(TextModel):
    """Base class with the rules for scored texts and for labels of pixels.

    The rules decide which class texts are scored and how pixels get labels.
    They depend on the vocabulary and on ``test_cfg``.

    Letters: T scored class texts.
    """

    decode_head: BaseOpenVocabHead
    test_cfg: ConfigDict

    # Class of the TTA model that contains this model, if any.
    tta_model: type | None = None

    @property
    def score_threshold(self) -> float | None:
        """Score that a pixel must exceed to get a label.

        - If ``test_cfg.logit_scale`` is set: None, because
          ``test_cfg.prob_thd`` is used instead.
        - Otherwise, if ``test_cfg.threshold`` is set: this number.
        - Otherwise, if only one label is scored: the threshold of the head,
          minus ``test_cfg.seen_penalty`` if the label is seen. Without a
          threshold, the only label would win every pixel.
        - In all other cases: None, which means no threshold.
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
        """Threshold between classes and background if the caller sets none.

        - If ``test_cfg.logit_scale`` is set: ``test_cfg.prob_thd``, or None if
          this option is not set or 0.
        - Otherwise, if ``test_cfg.threshold`` is set: this number.
        - Otherwise: the threshold of the head, or None if the attribute
          ``compares_texts`` of the head is True. The scores of such a head
          depend on the number of texts, so no fixed threshold fits.
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
        """Class texts that are scored: the vocabulary, then the other texts.

        Other texts are ``test_cfg.others`` or ``test_cfg.others_of_one``.
        """
        others = self.test_cfg.get('others')
        if others is None and self._needs_others:
            others = self.test_cfg.get('others_of_one', 'background_words')
        if not others:
            return self.vocabulary
        return _joined(self.vocabulary, load_vocabulary(others))

    @property
    def _needs_others(self) -> bool:
        """Whether ``test_cfg.others_of_one`` must be added to the vocabulary.

        This is the case if the vocabulary has only one label, and the scores
        of texts are compared with each other. For example, a softmax over one
        text is 1 at every pixel, so its label would win everywhere.
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
        """Rule that converts scores of texts, fused over views, to labels."""
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
        """Find the scored texts that training has seen.

        Args:
            device (torch.device): Device of the result.

        Returns:
            Tensor: False for texts of labels that the vocabulary marks as
            unseen, True for all other texts, (T,) bool.
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
