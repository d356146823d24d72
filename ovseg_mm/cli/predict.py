# SPDX-License-Identifier: Apache-2.0
"""``predict``: segment images with class texts of the command line."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import ovseg_mm
from ovseg_mm.utils.errors import InputError, report_error
from ovseg_mm.utils.paths import expanded
from ovseg_mm.zoo import add_model_arguments, model_of_arguments

if TYPE_CHECKING:
    from ovseg_mm.apis import Segmentation


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command's options."""
    parser = subparsers.add_parser(
        'predict',
        help='segment images with your own class texts',
        usage='%(prog)s IMAGE [IMAGE ...] [--model NAME] --classes WORDS '
        '[WORDS ...] [--config CONFIG] [--checkpoint CHECKPOINT] [--out '
        'FOLDER] [--device DEVICE]',
        description='Segment images with your own class texts. Write a label '
        'map and an overlay with a legend for each image.',
    )
    parser.add_argument(
        'images',
        nargs='*',
        metavar='IMAGE',
        help='image, folder of images, or pattern such as "street/*.jpg"',
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
        '--out',
        type=Path,
        default=Path('predictions'),
        metavar='FOLDER',
        help='folder of the results (default: %(default)s)',
    )
    parser.add_argument(
        '--device', help='such as cuda:0 (default: the best one)'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Segment all images.

    Args:
        args (argparse.Namespace): Options of the command.

    Returns:
        int: 0, or 1 if some images are damaged, 2 if all are.
    """
    from .pictures import check_outputs, output_names

    words, images = _words_and_images(args)
    source = model_of_arguments(args)
    out = expanded(args.out)
    outputs = {
        path: (out / f'{name}_overlay.png', out / f'{name}_labels.png')
        for path, name in zip(images, output_names(images))
    }
    check_outputs(images, (file for pair in outputs.values() for file in pair))
    from ovseg_mm.vocabulary import load_vocabulary, parse_classes

    vocabulary = load_vocabulary(parse_classes(words))
    ovseg_mm.register()
    from ovseg_mm.apis import OpenVocabInferencer
    from ovseg_mm.engine.launch import check_writable
    from ovseg_mm.utils.image_files import (
        read_image,
        write_image,
        write_label_map,
    )
    from ovseg_mm.utils.paths import write_text

    check_writable(out, '--out')
    inferencer = OpenVocabInferencer(source, device=args.device)
    legend = out / 'classes.json'
    write_text(legend, json.dumps(vocabulary.label_names, indent=1) + '\n')
    damaged = 0
    for path, (overlay, labels) in outputs.items():
        try:
            pixels = read_image(path)
        except (OSError, InputError) as error:
            report_error(error)
            damaged += 1
            continue
        result = inferencer(pixels, vocabulary)
        write_image(overlay, result.overlay())
        write_label_map(labels, result.labels, vocabulary.ignore_label + 1)
        print(f'{path}: {_found(result)}\n  {overlay}\n  {labels}')
    print(f'label values: {legend}')
    if damaged == len(images):
        return 2
    return 1 if damaged else 0


def _words_and_images(
    args: argparse.Namespace,
) -> tuple[list[str], list[Path]]:
    """Class texts and images of the command line, in any order."""
    from .pictures import find_images, split_images

    words, taken = split_images(args.classes, alone=not args.images)
    if not words:
        raise InputError(
            f'--classes has no class text, but the image {taken[0]}; write: '
            'predict IMAGE ... --classes WORDS ...'
        )
    if not args.images and not taken:
        raise InputError(
            'no image is given; write: predict IMAGE ... --classes WORDS '
            '... (--classes takes all arguments after it)'
        )
    if taken:
        print(
            f'read as images, not as classes: {", ".join(taken)}',
            file=sys.stderr,
        )
    return words, find_images([*args.images, *taken])


def _found(result: 'Segmentation') -> str:
    """Shares of the classes, or advice if none was found."""
    shares = result.shares()
    if shares:
        return ', '.join(f'{name} {part:.1%}' for name, part in shares.items())
    if result.vocabulary.num_texts == 1:
        return (
            'nothing found; add classes for the rest of the image, such '
            f'as --classes "{result.vocabulary.names[0]}; wall; sky", or '
            'use another class text'
        )
    return (
        'nothing found; use other class texts, or set a lower '
        'model.test_cfg.threshold in the config'
    )
