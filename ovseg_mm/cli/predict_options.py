# SPDX-License-Identifier: Apache-2.0
"""Options of the command ``predict``."""

import argparse
from pathlib import Path
from typing import Any

from ovseg_mm.utils.errors import InputError, nearest
from ovseg_mm.utils.result_files import (
    OUTPUTS,
    RASTER_OUTPUTS,
    check_outputs_known,
)
from ovseg_mm.utils.speed_options import add_speed_options
from ovseg_mm.zoo import add_model_arguments

KINDS = {**OUTPUTS, **RASTER_OUTPUTS}
# Smallest side of a tile in pixels.
_LEAST_TILE = 32


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments and options of ``predict`` to a parser.

    Args:
        parser (argparse.ArgumentParser): Parser of the command.
    """
    parser.add_argument(
        'images',
        nargs='*',
        metavar='IMAGE',
        help='image, GeoTIFF or video; folder of images, searched with its '
        'sub-folders; or pattern such as "street/*.jpg"',
    )
    add_model_arguments(parser)
    parser.add_argument(
        '--classes',
        nargs='+',
        action='extend',
        required=True,
        metavar='WORDS',
        help='classes as separate arguments or separated by ";", synonyms '
        'separated by "|"; or a file of class texts (.txt, .csv, .tsv, .json, '
        '.yaml); or a shipped vocabulary such as ade150',
    )
    parser.add_argument(
        '--background',
        nargs='+',
        metavar='WORDS',
        help='how to find pixels that show none of the classes and get no '
        'label. Words such as "wall; floor": pixels that fit one of these '
        'words best; "coco": the same, with the class names of COCO-Stuff as '
        'the words; "threshold": pixels whose best score is not above '
        '--score-threshold; "none": every pixel gets a class (default: as '
        'the config says)',
    )
    parser.add_argument(
        '--score-threshold',
        type=float,
        metavar='SCORE',
        help='pixels whose best score is not above this number get no label',
    )
    _add_output_options(parser)
    _add_running_options(parser)
    add_speed_options(parser)
    _add_raster_options(parser)


def checked_kinds(args: argparse.Namespace) -> tuple[str, ...]:
    """Check ``--save``, ``--batch-size``, ``--workers`` and ``--tile``.

    Args:
        args (argparse.Namespace): Options of the command.

    Returns:
        tuple[str, ...]: Kinds of results of ``--save``, without repetition.

    Raises:
        InputError: If a kind is unknown, or a number is too small.
    """
    kinds = tuple(
        dict.fromkeys(k.strip() for k in args.save.split(',') if k.strip())
    )
    if not kinds:
        raise InputError(f'--save is empty; choose from {", ".join(KINDS)}')
    check_outputs_known(kinds, KINDS)
    least = dict(batch_size=1, workers=1, tile=_LEAST_TILE)
    for name, number in least.items():
        value = getattr(args, name)
        if value is not None and value < number:
            option = name.replace('_', '-')
            raise InputError(
                f'--{option} {value} is too small; the least value is {number}'
            )
    return kinds


def call_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options of ``predict`` that are passed to the inferencer.

    Args:
        args (argparse.Namespace): Options of the command.

    Returns:
        dict[str, Any]: ``background`` and ``score_threshold`` for
        :meth:`ovseg_mm.apis.OpenVocabInferencer.__call__`.
    """
    from ovseg_mm.vocabulary import parse_classes

    background = args.background
    if background is not None:
        known = ('none', 'threshold', 'coco')
        word = background[0]
        # The inferencer reports a misspelt option.
        if len(background) == 1 and (word in known or nearest(word, known)):
            background = word
        else:
            background = parse_classes(background)
    return dict(background=background, score_threshold=args.score_threshold)


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('predictions'),
        metavar='FOLDER',
        help='folder of the results (default: %(default)s)',
    )
    parser.add_argument(
        '--save',
        default='labels,overlay',
        metavar='KINDS',
        help='kinds of results, separated by commas: '
        f'{", ".join(OUTPUTS)}; for images that are segmented in tiles (see '
        f'rasters): {", ".join(RASTER_OUTPUTS)} (default: %(default)s)',
    )
    parser.add_argument(
        '--json',
        action='store_true',
        help='print a JSON line instead of text for each image',
    )
    parser.add_argument(
        '--skip-existing',
        action='store_true',
        help='leave out images that an earlier run with the same settings '
        'and the same --out has finished',
    )


def _add_running_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--device',
        help='device such as cuda:0 (default: a GPU if there is one)',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        metavar='N',
        help='number of images, or of frames of a video, that go through '
        'the model together (default: %(default)s)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=2,
        metavar='N',
        help='number of threads that read and write files while the model '
        'works (default: %(default)s)',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        default='none',
        help='launcher that starts several processes; each process predicts '
        'a part of the images',
    )


def _add_raster_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        'rasters',
        'Georeferenced TIFF files and images of more than 89 megapixels are '
        'segmented in overlapping tiles, whose scores are fused; the label '
        'map is a GeoTIFF. With --bands or --tile, all images are segmented '
        "in tiles. Needs: pip install 'ovseg_mm[geo]'.",
    )
    group.add_argument(
        '--bands',
        type=int,
        nargs='+',
        metavar='N',
        help='bands for red, green and blue, counted from 1, or one band for '
        'grey (default: the bands that the file marks as red, green and '
        'blue; if no bands are marked, the first three bands; if the file '
        'has fewer than three bands, only the first band)',
    )
    group.add_argument(
        '--tile',
        type=int,
        metavar='PIXELS',
        help='side of a tile (default: 640)',
    )
