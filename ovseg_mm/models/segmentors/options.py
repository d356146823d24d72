# SPDX-License-Identifier: Apache-2.0
"""Checks of the options of segmentors."""

from collections.abc import Collection, Mapping, Sequence
from numbers import Integral, Real

from mmengine.config import ConfigDict

from ovseg_mm.utils.errors import InputError, nearest

from ..decode_heads import BaseMaskHead, BaseOpenVocabHead

CLIP_OPTIONS = ('arch', 'pretrained', 'custom_clip_weights', 'finetune')
TEST_OPTIONS = (
    'mode',
    'crop_size',
    'stride',
    'canvas',
    'global_view',
    'window_batch',
    'score_size',
    'seen_penalty',
    'threshold',
    'keep_scores',
    'top_scores',
    'keep_proposals',
    'max_words',
    'prune_regions',
    'fit_windows',
    'window_divisor',
    'refine',
    'logit_scale',
    'prob_thd',
    'area_thd',
    'background',
    'others',
    'others_of_one',
)
REFINE_OPTIONS = ('steps', 'dilations')


def checked_clip(clip: Mapping | None) -> dict:
    """Validate ``clip`` of a segmentor.

    Args:
        clip (Mapping, optional): See :class:`BaseOpenVocabSegmentor`.

    Returns:
        dict: A copy; empty for None.

    Raises:
        InputError: If there is an unknown option.
    """
    clip = dict(clip or {})
    _check_names(clip, CLIP_OPTIONS, 'clip')
    return clip


def checked_test_cfg(given: Mapping | None) -> ConfigDict:
    """Validate ``test_cfg`` and fill in the default mode.

    Args:
        given (Mapping, optional): See :class:`BaseOpenVocabSegmentor`.

    Returns:
        ConfigDict: Settings that are read as items and as attributes.

    Raises:
        InputError: If there is an unknown option, a size is invalid, or
            windows leave pixels out.
    """
    cfg: ConfigDict = ConfigDict(given or {})
    _check_names(cfg, TEST_OPTIONS, 'test_cfg')
    mode = cfg.setdefault('mode', 'whole')
    if mode not in ('whole', 'slide'):
        raise InputError(f"test_cfg.mode={mode!r} is not 'whole' or 'slide'")
    if mode == 'slide':
        for key in ('crop_size', 'stride'):
            _check_size(cfg.get(key), key, "test_cfg.mode='slide' needs ")
        if any(s > c for s, c in zip(cfg['stride'], cfg['crop_size'])):
            raise InputError(
                f'test_cfg.stride={cfg["stride"]} is larger than '
                f'test_cfg.crop_size={cfg["crop_size"]}: pixels between the '
                'windows would get no score; make it smaller'
            )
    if cfg.get('canvas') is not None:
        _check_size(cfg['canvas'], 'canvas', 'write ')
    _check_score_size(cfg.get('score_size'))
    batch = cfg.get('window_batch', 1)
    if not _is_pixels(batch):
        raise InputError(
            f'test_cfg.window_batch={batch!r} is not an integer above 0'
        )
    for key in ('top_scores', 'max_words'):
        if not _is_pixels(cfg.get(key, 1)):
            raise InputError(
                f'test_cfg.{key}={cfg[key]!r} is not an integer above 0'
            )
    for key in ('threshold', 'seen_penalty'):
        value = cfg.get(key, 0)
        if value is None and key == 'threshold':
            continue
        if isinstance(value, bool) or not isinstance(value, Real):
            raise InputError(f'test_cfg.{key}={value!r} is not a number')
    share = cfg.get('prune_regions', 0)
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise InputError(
            f'test_cfg.prune_regions={share!r} is not a share in [0, 1]'
        )
    _check_labelling(cfg)
    return cfg


def check_speed_options(cfg: Mapping, head: BaseOpenVocabHead) -> None:
    """Check that a head has the options that save time.

    Args:
        cfg (Mapping): Test options, from :func:`checked_test_cfg`.
        head (BaseOpenVocabHead): The decode head.

    Raises:
        InputError: If an option has no effect on this head, or two options
            exclude each other.
    """
    usable = dict(
        max_words=head.limits_words,
        prune_regions=isinstance(head, BaseMaskHead),
    )
    for key, has_effect in usable.items():
        if cfg.get(key) and not has_effect:
            raise InputError(
                f'test_cfg.{key}={cfg[key]} has no effect on '
                f'{type(head).__name__}; leave it out'
            )
    if cfg.get('max_words') and cfg.get('seen_penalty'):
        raise InputError(
            f'test_cfg.max_words={cfg["max_words"]} and '
            f'test_cfg.seen_penalty={cfg["seen_penalty"]} exclude each other: '
            'after the penalty, words that were left out could win; leave '
            'one of the two out'
        )


def _check_score_size(size: object) -> None:
    if size is None or size == 'input':
        return
    if not _is_size(size):
        raise InputError(
            f"test_cfg.score_size={size!r} is not (height, width), 'input' "
            'or None'
        )


def _check_size(size: object, key: str, reason: str = '') -> None:
    if _is_size(size):
        return
    hint = ''
    if _is_pixels(size):
        hint = f'; write ({size}, {size})'
    elif isinstance(size, Sequence) and any(
        isinstance(n, float) for n in size
    ):
        hint = '; pixels are whole numbers'
    raise InputError(
        f'{reason}test_cfg.{key}=(height, width) in pixels, found '
        f'{size!r}{hint}'
    )


def _is_size(size: object) -> bool:
    return (
        isinstance(size, Sequence)
        and not isinstance(size, str)
        and len(size) == 2
        and all(map(_is_pixels, size))
    )


def _is_pixels(value: object) -> bool:
    if not isinstance(value, Integral) or isinstance(value, bool):
        return False
    return int(value) > 0


def _check_labelling(cfg: Mapping) -> None:
    """Check the options of refinement and of probabilities."""
    refine = cfg.get('refine') or {}
    _check_names(refine, REFINE_OPTIONS, 'test_cfg.refine')
    if refine.get('steps', 0) < 0 or min(refine.get('dilations', [1])) < 1:
        raise InputError(
            f'test_cfg.refine={dict(refine)} needs steps of 0 or more and '
            'dilations of 1 or more pixels'
        )
    if cfg.get('logit_scale') is None:
        for key in ('prob_thd', 'area_thd'):
            if cfg.get(key):
                raise InputError(
                    f'test_cfg.{key}={cfg[key]!r} needs probabilities; set '
                    'test_cfg.logit_scale'
                )
    elif cfg['logit_scale'] <= 0:
        raise InputError(
            f'test_cfg.logit_scale={cfg["logit_scale"]} must be above 0'
        )
    divisor = cfg.get('window_divisor', 1)
    if divisor != 'patch' and (not isinstance(divisor, int) or divisor < 1):
        raise InputError(
            f"test_cfg.window_divisor={divisor!r} must be 'patch', or at "
            'least 1 (1 means no padding)'
        )


def _check_names(options: Mapping, known: Collection[str], where: str) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(
            f'{where} has the unknown options {unknown}'
            f'{nearest(unknown[0], known)} (known are {", ".join(known)})'
        )
