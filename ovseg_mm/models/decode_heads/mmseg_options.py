# SPDX-License-Identifier: Apache-2.0
"""Options of MMSegmentation's decode heads that ours do not have."""

from collections.abc import Mapping

from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import Vocabulary

# Options with a fixed value, and what to do instead of changing it.
_FIXED = dict(
    sampler=(
        None,
        'pixels are not sampled here; for hard pixels take the loss '
        "loss_decode=dict(type='OhemCrossEntropy')",
    ),
    align_corners=(False, 'scores are always resized without it'),
    out_channels=(None, 'there is a channel for each class text'),
)
_NAMES = (*_FIXED, 'ignore_index', 'num_classes')


def split_mmseg_options(cfg: Mapping) -> tuple[dict, dict]:
    """Split the config of a head: its own options, MMSegmentation's options.

    If the class of the head has such an option itself, build the head with
    the whole config instead.
    """
    given = {key: cfg[key] for key in _NAMES if key in cfg}
    return {k: v for k, v in cfg.items() if k not in given}, given


def check_mmseg_options(given: Mapping, vocabulary: Vocabulary) -> None:
    """Raise for options of MMSegmentation's heads that would have no effect.

    Args:
        given (Mapping): Options, from :func:`split_mmseg_options`.
        vocabulary (Vocabulary): The training vocabulary.

    Raises:
        InputError: If an option has another value than the fixed one.
    """
    whole = vocabulary.whole or vocabulary
    fixed = dict(
        _FIXED,
        ignore_index=(
            whole.ignore_label,
            'the ignored label follows from the number of labels (255, or '
            '65535 for more than 255); map the labels of the data set to it',
        ),
        num_classes=(
            vocabulary.num_labels,
            f'the classes are those of {vocabulary.source}; change '
            'train_vocabulary and vocabulary of the model',
        ),
    )
    for key, value in given.items():
        wanted, advice = fixed[key]
        if value != wanted:
            raise InputError(
                f'decode_head.{key}={value!r} has no effect here: {advice}, '
                f'and leave {key} out'
            )
