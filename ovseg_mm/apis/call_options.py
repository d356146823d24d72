# SPDX-License-Identifier: Apache-2.0
"""Conversion of the arguments of one call to entries of ``test_cfg``."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, TypedDict

from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor
from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import (
    Vocabulary,
    background_words,
    get_templates,
)


class CallOptions(TypedDict, total=False):
    """Keywords of :meth:`OpenVocabInferencer.__call__`, for type checkers."""

    background: str | Sequence[str] | None
    templates: str | Sequence[str] | None
    score_threshold: float | None
    scores: str | int | None
    batch_size: int
    progress: bool


@dataclass(frozen=True)
class Call:
    """Checked arguments of one call of :class:`OpenVocabInferencer`.

    Attributes:
        words (Vocabulary, optional): Class texts. None: class texts of the
            model.
        test_cfg (dict): Entries of the model's ``test_cfg`` to override during
            the call.
        templates (list[str], optional): Prompt templates. None: templates of
            the model.
    """

    words: Vocabulary | None
    test_cfg: dict[str, Any] = field(default_factory=dict)
    templates: list[str] | None = None


def options_of_scores(scores: str | int | None) -> dict[str, Any]:
    """Entries of ``test_cfg`` that say which scores a result keeps.

    Args:
        scores (str | int, optional): ``'all'``: scores of all labels. A
            number k: scores of the k best labels of each pixel. None: no
            scores.

    Returns:
        dict[str, Any]: The entry ``keep_scores``: whether all scores are
        kept. If ``scores`` is a number, also the entry ``top_scores`` with
        this number.

    Raises:
        InputError: If ``scores`` has another value.
    """
    if scores is None or scores == 'all':
        return dict(keep_scores=scores is not None)
    if not isinstance(scores, Integral) or scores < 1 or scores is True:
        raise InputError(
            f"scores={scores!r} cannot be used; give 'all', a number of "
            'labels per pixel (1 or more), or None'
        )
    return dict(keep_scores=False, top_scores=int(scores))


def check_batch_size(batch_size: int) -> None:
    """Check that the number of images in a batch is an integer above 0.

    Args:
        batch_size (int): Number of images in a batch.

    Raises:
        InputError: If ``batch_size`` is not an integer above 0.
    """
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise InputError(
            f'batch_size={batch_size!r} is not an integer above 0'
        )


def options_of_background(
    model: BaseOpenVocabSegmentor,
    words: Vocabulary,
    background: str | Sequence[str] | None,
    score_threshold: float | None,
) -> dict[str, Any]:
    """Entries of ``test_cfg`` for pixels that show none of the classes.

    Args:
        model (BaseOpenVocabSegmentor): The model.
        words (Vocabulary): The classes.
        background (str | Sequence[str], optional): See
            :meth:`OpenVocabInferencer.__call__`.
        score_threshold (float, optional): See
            :meth:`OpenVocabInferencer.__call__`.

    Returns:
        dict[str, Any]: Entries of ``test_cfg`` to override: ``others`` for
        background words, ``threshold`` or ``prob_thd`` for a threshold.
        Empty if both arguments are None.

    Raises:
        InputError: If an argument cannot be used, ``background`` and
            ``score_threshold`` contradict each other, or
            ``background='threshold'`` is set but no threshold is known.
    """
    if score_threshold is not None and (
        isinstance(score_threshold, bool)
        or not isinstance(score_threshold, Real)
    ):
        raise InputError(
            f'score_threshold={score_threshold!r} is not a number; give a '
            'number or None'
        )
    if background == 'none':
        if score_threshold is not None:
            raise InputError(
                "background='none' labels every pixel, so score_threshold "
                'would have no effect; leave out one of the two'
            )
        return dict(others=[], **_threshold(model, float('-inf')))
    options: dict[str, Any] = {}
    if background == 'threshold':
        if score_threshold is None:
            score_threshold = model.default_threshold
        if score_threshold is None:
            raise InputError(
                f'scores of {model.decode_head.method} depend on the number '
                "of classes, so background='threshold' has no default "
                'threshold; give a score threshold too, or give background '
                'words instead, such as wall and floor'
            )
    elif background is not None:
        options['others'] = background_words(background, words) or []
    if score_threshold is not None:
        options.update(_threshold(model, float(score_threshold)))
    return options


def _threshold(
    model: BaseOpenVocabSegmentor, value: float
) -> dict[str, float]:
    if model.test_cfg.get('logit_scale') is None:
        return dict(threshold=value)
    return dict(prob_thd=value)


def checked_templates(
    model: BaseOpenVocabSegmentor, templates: str | Sequence[str] | None
) -> list[str] | None:
    """Read the prompt templates of a call and check that they can be used.

    Args:
        model (BaseOpenVocabSegmentor): The model.
        templates (str | Sequence[str], optional): See
            :func:`ovseg_mm.vocabulary.get_templates`.

    Returns:
        list[str] | None: The templates. None if ``templates`` is None: the
        model's own templates are used.

    Raises:
        InputError: If templates have no effect on the model, or their number
            differs from the number of templates in training.
    """
    if templates is None:
        return None
    if isinstance(templates, str) and '{}' in templates:
        templates = [templates]
    chosen = get_templates(templates)
    method = model.decode_head.method
    if model.text_bank.embeddings is not None:
        raise InputError(
            'templates have no effect on this model, whose text embeddings '
            'come from a file; leave templates out'
        )
    if hasattr(model.text_encoder, 'prefix_prompt'):
        raise InputError(
            f'templates have no effect on this model of {method}, which has '
            'learned a prompt; leave templates out'
        )
    count = model.decode_head.prompt_channels
    if count > 1 and len(chosen) != count:
        raise InputError(
            f'this model of {method} was trained with {count} templates, but '
            f'{len(chosen)} were given; give {count} templates or none'
        )
    return chosen


@contextmanager
def set_for_call(
    model: BaseOpenVocabSegmentor, call: Call
) -> Iterator[Vocabulary]:
    """Context manager that sets the class texts and options of a call.

    Args:
        model (BaseOpenVocabSegmentor): The model. At the end of the block,
            its own class texts and options are restored.
        call (Call): Class texts and options of the call.

    Yields:
        Vocabulary: Class texts of the call.
    """
    own_words, own_cfg = model.vocabulary, model.test_cfg
    bank = model.text_bank
    own_prompts = bank.templates, bank.average_templates
    try:
        if call.words is not None:
            model.set_vocabulary(call.words)
        model.test_cfg = copy.copy(own_cfg)
        model.test_cfg.update(call.test_cfg)
        if call.templates is not None:
            bank.templates = call.templates
            bank.average_templates = model.decode_head.prompt_channels == 1
        yield model.vocabulary
    finally:
        bank.templates, bank.average_templates = own_prompts
        model.test_cfg = own_cfg
        model.set_vocabulary(own_words)
