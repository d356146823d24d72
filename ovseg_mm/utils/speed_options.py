# SPDX-License-Identifier: Apache-2.0
"""Command-line options that save time and may change labels."""

import argparse
from typing import Any


def add_speed_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--amp``, ``--compile``, ``--max-words``, ``--prune-regions``.

    Args:
        parser (argparse.ArgumentParser): Parser of a command that predicts.
    """
    group = parser.add_argument_group(
        'faster', 'These options save time and may change a few labels.'
    )
    group.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: float16 on GPUs, bfloat16 on CPUs',
    )
    group.add_argument(
        '--compile',
        action='store_true',
        help="compile the blocks of CLIP's image tower; the first images "
        'take longer',
    )
    group.add_argument(
        '--max-words',
        type=int,
        metavar='N',
        help='CAT-Seg: use only the N class texts that are most similar to '
        'an image or window; the other class texts are not predicted there',
    )
    group.add_argument(
        '--prune-regions',
        type=float,
        metavar='SHARE',
        help='ZSSeg and SCAN: leave out weak mask proposals; with 0.5, a '
        'proposal is kept only if its vote (mask probability times class '
        'weight) is, at some pixel, at least half of the largest vote there',
    )


def speed_options(args: argparse.Namespace) -> dict[str, Any]:
    """Get the values of the options that :func:`add_speed_options` adds.

    Args:
        args (argparse.Namespace): Parsed command line.

    Returns:
        dict[str, Any]: Values of the options that the user has set, by
        argument of :class:`OpenVocabInferencer`.
    """
    names = ('amp', 'compile', 'max_words', 'prune_regions')
    given = {name: getattr(args, name) for name in names}
    return {
        name: value
        for name, value in given.items()
        if value is not None and value is not False
    }


def speed_settings(
    amp: bool = False,
    compile: bool = False,
    max_words: int | None = None,
    prune_regions: float | None = None,
) -> dict[str, Any]:
    """Convert the options that save time to settings of a config.

    Args:
        amp (bool): Whether to use mixed precision.
        compile (bool): Whether to compile CLIP's image towers.
        max_words (int, optional): Value of ``model.test_cfg.max_words``. None:
            the config keeps its value.
        prune_regions (float, optional): Value of
            ``model.test_cfg.prune_regions``. None: the config keeps its value.

    Returns:
        dict[str, Any]: Settings to change, by dotted key of the config, such
        as ``{'model.test_cfg.max_words': 50}``.
    """
    settings: dict[str, Any] = {}
    if amp:
        settings['test_cfg.fp16'] = True
    if compile:
        settings['compile'] = True
    if max_words is not None:
        settings['model.test_cfg.max_words'] = max_words
    if prune_regions is not None:
        settings['model.test_cfg.prune_regions'] = prune_regions
    return settings
