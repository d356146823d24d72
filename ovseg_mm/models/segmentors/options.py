# SPDX-License-Identifier: Apache-2.0
"""Checks of the options ``clip`` and ``test_cfg`` of segmentors."""

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
    """Check the option ``clip`` of a segmentor.

    Args:
        clip (Mapping, optional): See :class:`BaseOpenVocabSegmentor`.

    Returns:
        dict: Copy of ``clip``; empty for None.

    Raises:
        InputError: If ``clip`` has an unknown key.
    """
    clip = dict(clip or {})
    _check_names(clip, CLIP_OPTIONS, 'clip')
    return clip


def checked_test_cfg(given: Mapping | None) -> ConfigDict:
    """Check the option ``test_cfg`` of a segmentor.

    Args:
        given (Mapping, optional): See :class:`BaseOpenVocabSegmentor`.

    Returns:
        ConfigDict: Copy of ``given``, with ``mode='whole'`` if no mode is set.

    Raises:
        InputError: If ``given`` has an unknown key or a wrong value, or if
            the windows would not cover all pixels.
    """
    cfg: ConfigDict = ConfigDict(given or {})
    _check_names(cfg, TEST_OPTIONS, 'test_cfg')
    mode = cfg.setdefault('mode', 'whole')
    if mode not in ('whole', 'slide'):
        raise InputError(
            f"test_cfg.mode={mode!r}; expected 'whole' or 'slide'"
        )
    if mode == 'slide':
        for key in ('crop_size', 'stride'):
            _check_size(cfg.get(key), key)
        if any(s > c for s, c in zip(cfg['stride'], cfg['crop_size'])):
            raise InputError(
                f'test_cfg.stride={cfg["stride"]} is larger than '
                f'test_cfg.crop_size={cfg["crop_size"]}, so pixels between '
                'the windows would get no score; make the stride smaller'
            )
    if cfg.get('canvas') is not None:
        _check_size(cfg['canvas'], 'canvas')
    _check_score_size(cfg.get('score_size'))
    batch = cfg.get('window_batch', 1)
    if not _is_pixels(batch):
        raise InputError(
            f'test_cfg.window_batch={batch!r}; expected an integer above 0'
        )
    for key in ('top_scores', 'max_words'):
        if not _is_pixels(cfg.get(key, 1)):
            raise InputError(
                f'test_cfg.{key}={cfg[key]!r}; expected an integer above 0'
            )
    for key in ('threshold', 'seen_penalty'):
        value = cfg.get(key, 0)
        if value is None and key == 'threshold':
            continue
        if isinstance(value, bool) or not isinstance(value, Real):
            raise InputError(f'test_cfg.{key}={value!r}; expected a number')
    share = cfg.get('prune_regions', 0)
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise InputError(
            f'test_cfg.prune_regions={share!r}; expected a number from 0 to 1'
        )
    _check_labelling(cfg)
    return cfg


def check_speed_options(cfg: Mapping, head: BaseOpenVocabHead) -> None:
    """Check the options of ``test_cfg`` that save time.

    Args:
        cfg (Mapping): Test options from :func:`checked_test_cfg`.
        head (BaseOpenVocabHead): The decode head.

    Raises:
        InputError: If an option has no effect on the head, or if two options
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
                f'{type(head).__name__}; remove the option'
            )
    if cfg.get('max_words') and cfg.get('seen_penalty'):
        raise InputError(
            f'test_cfg.max_words={cfg["max_words"]} and '
            f'test_cfg.seen_penalty={cfg["seen_penalty"]} exclude each other: '
            'class texts that max_words leaves out could win after the '
            'penalty; remove one of the two'
        )


def _check_score_size(size: object) -> None:
    if size is None or size == 'input':
        return
    if not _is_size(size):
        raise InputError(
            f'test_cfg.score_size={size!r}; expected (height, width), '
            "'input' or None"
        )


def _check_size(size: object, key: str) -> None:
    if _is_size(size):
        return
    hint = ''
    if size is None:
        hint = "; test_cfg.mode='slide' needs this option"
    elif _is_pixels(size):
        hint = f'; write ({size}, {size})'
    elif isinstance(size, Sequence) and any(
        isinstance(n, float) for n in size
    ):
        hint = '; pixels are whole numbers'
    raise InputError(
        f'test_cfg.{key}={size!r}; expected (height, width) in pixels{hint}'
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
    """Check the options of refinement, probabilities and window padding."""
    refine = cfg.get('refine') or {}
    _check_names(refine, REFINE_OPTIONS, 'test_cfg.refine')
    if refine.get('steps', 0) < 0 or min(refine.get('dilations', [1])) < 1:
        raise InputError(
            f'test_cfg.refine={dict(refine)}; expected steps of 0 or more, '
            'and dilations of 1 or more pixels'
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
            f'test_cfg.logit_scale={cfg["logit_scale"]}; expected a number '
            'above 0'
        )
    divisor = cfg.get('window_divisor', 1)
    if divisor != 'patch' and (not isinstance(divisor, int) or divisor < 1):
        raise InputError(
            f"test_cfg.window_divisor={divisor!r}; expected 'patch', 1 (no "
            'padding) or a larger integer'
        )


def _check_names(options: Mapping, known: Collection[str], where: str) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(
            f'{where} has the unknown options {unknown}'
            f'{nearest(unknown[0], known)} (known options: {", ".join(known)})'
        )
