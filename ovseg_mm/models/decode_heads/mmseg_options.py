# SPDX-License-Identifier: Apache-2.0
"""Options that only MMSegmentation's own decode heads have."""

from collections.abc import Mapping

from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import Vocabulary

# Options with a fixed value, and what to do instead of changing it.
_FIXED = dict(
    sampler=(
        None,
        'pixels are not sampled here; to train on hard pixels, set '
        "loss_decode=dict(type='OhemCrossEntropy')",
    ),
    align_corners=(
        False,
        'scores are always resized with align_corners=False',
    ),
    out_channels=(None, 'there is one channel for each class text'),
)
_NAMES = (*_FIXED, 'ignore_index', 'num_classes')


def split_mmseg_options(cfg: Mapping) -> tuple[dict, dict]:
    """Separate MMSegmentation's options from the config of a decode head.

    Args:
        cfg (Mapping): Config of a decode head of this package.

    Returns:
        tuple[dict, dict]: The config without MMSegmentation's options, and
        MMSegmentation's options, such as ``num_classes``.
    """
    given = {key: cfg[key] for key in _NAMES if key in cfg}
    return {k: v for k, v in cfg.items() if k not in given}, given


def check_mmseg_options(given: Mapping, vocabulary: Vocabulary) -> None:
    """Raise an error if an option of MMSegmentation would have no effect.

    Args:
        given (Mapping): Options of MMSegmentation's decode heads, from
            :func:`split_mmseg_options`.
        vocabulary (Vocabulary): Training vocabulary of the model.

    Raises:
        InputError: If an option differs from the value that the heads of this
            package always use.
    """
    whole = vocabulary.whole or vocabulary
    fixed = dict(
        _FIXED,
        ignore_index=(
            whole.ignore_label,
            f'the ignored label is always {whole.ignore_label} for '
            f'{whole.num_labels} labels; change the ignored pixels of the '
            f'label files to {whole.ignore_label}',
        ),
        num_classes=(
            vocabulary.num_labels,
            f'the model has the {vocabulary.num_labels} labels of '
            f'{vocabulary.source}; to change them, set train_vocabulary and '
            'vocabulary of the model',
        ),
    )
    for key, value in given.items():
        wanted, advice = fixed[key]
        if value != wanted:
            raise InputError(
                f'decode_head.{key}={value!r} has no effect here, since '
                f'{advice}; remove {key}'
            )
