# SPDX-License-Identifier: Apache-2.0
"""Checks of the options of segmentors."""

from collections.abc import Collection, Mapping

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
    'keep_proposals',
)


def checked_clip(clip: Mapping | None) -> dict:
    """``clip`` of a segmentor.

    Raises:
        ValueError: If there is an unknown option.
    """
    clip = dict(clip or {})
    _check_names(clip, CLIP_OPTIONS, 'clip')
    return clip


def checked_test_cfg(cfg: dict | None) -> dict:
    """``test_cfg`` of a segmentor with its mode, after a look at the rest.

    Raises:
        ValueError: If there is an unknown option, windows that leave pixels
            out, or a size that is none.
    """
    cfg = dict(cfg or {})
    _check_names(cfg, TEST_OPTIONS, 'test_cfg')
    mode = cfg.setdefault('mode', 'whole')
    if mode not in ('whole', 'slide'):
        raise ValueError(f"test_cfg.mode={mode!r} is not 'whole' or 'slide'")
    if mode == 'slide':
        for key in ('crop_size', 'stride'):
            value = cfg.get(key)
            if not value or len(value) != 2 or min(value) < 1:
                raise ValueError(
                    f"test_cfg.mode='slide' needs test_cfg.{key}=(height, "
                    f'width) in pixels, found {value!r}'
                )
        if any(s > c for s, c in zip(cfg['stride'], cfg['crop_size'])):
            raise ValueError(
                f'test_cfg.stride={cfg["stride"]} is larger than '
                f'test_cfg.crop_size={cfg["crop_size"]}: pixels between the '
                'windows would get no score; make it smaller'
            )
    size = cfg.get('score_size')
    if isinstance(size, str) and size != 'input':
        raise ValueError(
            f"test_cfg.score_size={size!r} is not (height, width), 'input' "
            'or None'
        )
    return cfg


def _check_names(options: Mapping, known: Collection[str], where: str) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f'{where} has the unknown options {unknown}; known are '
            f'{", ".join(known)}'
        )
