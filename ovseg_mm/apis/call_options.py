# SPDX-License-Identifier: Apache-2.0
"""Arguments of one call as test options of the model."""

from collections.abc import Sequence
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
    """Options of :meth:`OpenVocabInferencer.__call__`, for type checkers."""

    background: str | Sequence[str] | None
    templates: str | Sequence[str] | None
    score_threshold: float | None
    scores: str | int | None
    batch_size: int
    progress: bool


@dataclass(frozen=True)
class Call:
    """What one call asks of a model.

    Attributes:
        words (Vocabulary, optional): Class texts. None: the model's.
        test_cfg (dict): Test options that replace those of the model.
        templates (list[str], optional): Prompt templates. None: the model's.
    """

    words: Vocabulary | None
    test_cfg: dict[str, Any] = field(default_factory=dict)
    templates: list[str] | None = None


def options_of_scores(scores: str | int | None) -> dict[str, Any]:
    """Test options for the scores of a result.

    Args:
        scores (str | int, optional): ``'all'``, the number of labels whose
            scores are kept at each pixel, or None.

    Returns:
        dict[str, Any]: ``keep_scores`` and perhaps ``top_scores``.

    Raises:
        InputError: If ``scores`` is anything else.
    """
    if scores is None or scores == 'all':
        return dict(keep_scores=scores is not None)
    if not isinstance(scores, Integral) or scores < 1 or scores is True:
        raise InputError(
            f"scores={scores!r} is not 'all', a number of labels per pixel "
            '(1 or more) or None'
        )
    return dict(keep_scores=False, top_scores=int(scores))


def check_batch_size(batch_size: int) -> None:
    """Check that the number of images in a batch is an integer above 0.

    Args:
        batch_size (int): The number.

    Raises:
        InputError: If it is not.
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
    """Test options for pixels that show none of the classes.

    Args:
        model (BaseOpenVocabSegmentor): The model.
        words (Vocabulary): The classes.
        background (str | Sequence[str], optional): See
            :meth:`OpenVocabInferencer.__call__`.
        score_threshold (float, optional): See
            :meth:`OpenVocabInferencer.__call__`.

    Returns:
        dict[str, Any]: Perhaps ``others``, ``threshold`` or ``prob_thd``.

    Raises:
        InputError: If an argument cannot be used, or they contradict.
    """
    if score_threshold is not None and (
        isinstance(score_threshold, bool)
        or not isinstance(score_threshold, Real)
    ):
        raise InputError(
            f'score_threshold={score_threshold!r} is not a number'
        )
    if background == 'none':
        if score_threshold is not None:
            raise InputError(
                "background='none' labels every pixel; leave it or "
                'score_threshold out'
            )
        return dict(others=[], **_threshold(model, float('-inf')))
    options: dict[str, Any] = {}
    if background == 'threshold':
        if score_threshold is None:
            score_threshold = model.default_threshold
        if score_threshold is None:
            raise InputError(
                f'scores of {model.decode_head.method} depend on the number '
                'of classes, so there is no default threshold: give a score '
                'threshold as well, or words of the background instead, such '
                'as wall and floor'
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
    """Prompt templates of a call.

    Args:
        model (BaseOpenVocabSegmentor): The model.
        templates (str | Sequence[str], optional): See
            :func:`ovseg_mm.vocabulary.get_templates`.

    Returns:
        list[str] | None: The templates; None stands for the model's own.

    Raises:
        InputError: If the model takes no templates, or another number.
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
            'come from a file; leave them out'
        )
    if hasattr(model.text_encoder, 'prefix_prompt'):
        raise InputError(
            f'templates have no effect on this model of {method}, which has '
            'learned a prompt; leave them out'
        )
    count = model.decode_head.prompt_channels
    if count > 1 and len(chosen) != count:
        raise InputError(
            f'this model of {method} was trained with {count} templates and '
            f'takes that many, found {len(chosen)}'
        )
    return chosen
