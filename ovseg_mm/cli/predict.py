# SPDX-License-Identifier: Apache-2.0
"""``predict``: segment pictures with words typed on the command line."""

import argparse
import json
import sys
from pathlib import Path

IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command's options."""
    parser = subparsers.add_parser(
        'predict',
        help='segment pictures with your own words',
        description='Segment pictures with your own words. Writes a label '
        'map and an overlay with a legend for each picture.',
    )
    parser.add_argument(
        'images',
        nargs='+',
        metavar='IMAGE',
        type=Path,
        help='picture, or folder of pictures',
    )
    parser.add_argument(
        '--config',
        required=True,
        help='config file, or the bare name of a shipped one',
    )
    parser.add_argument('--checkpoint', required=True, help='weights')
    parser.add_argument(
        '--classes',
        nargs='+',
        required=True,
        metavar='WORDS',
        help='classes as separate arguments or separated by ";", synonyms by '
        '"|"; or a file of words (.txt, .csv, .tsv, .json, .yaml); or a '
        'shipped vocabulary such as ade150',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('predictions'),
        metavar='FOLDER',
        help='where the pictures are written (default: %(default)s)',
    )
    parser.add_argument('--device', help='such as cuda:0; default: the best')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Segment every picture that can be read.

    Returns:
        int: 1 if some cannot, 2 if none can.
    """
    images = find_images(args.images)
    from ovseg_mm.vocabulary import load_vocabulary, parse_classes

    vocabulary = load_vocabulary(parse_classes(args.classes))
    args.out.mkdir(parents=True, exist_ok=True)

    from ovseg_mm.apis import OpenVocabInferencer
    from ovseg_mm.datasets import read_image, write_image, write_label_map
    from ovseg_mm.paths import write_text

    inferencer = OpenVocabInferencer(args.config, args.checkpoint, args.device)
    legend = args.out / 'classes.json'
    write_text(legend, json.dumps(vocabulary.label_names, indent=1) + '\n')
    damaged = 0
    for path, name in zip(images, _output_names(images)):
        try:
            pixels = read_image(path)
        except (OSError, ValueError) as error:
            print(f'error: {error}', file=sys.stderr)
            damaged += 1
            continue
        result = inferencer(pixels, vocabulary)
        overlay = args.out / f'{name}_overlay.png'
        write_image(overlay, result.overlay())
        labels = args.out / f'{name}_labels.png'
        write_label_map(labels, result.labels, vocabulary.ignore_label + 1)
        shares = ', '.join(
            f'{label} {share:.1%}' for label, share in result.shares().items()
        )
        print(f'{path}: {shares}\n  {overlay}\n  {labels}')
    print(f'label values: {legend}')
    if damaged == len(images):
        return 2
    return 1 if damaged else 0


def find_images(paths: list[Path]) -> list[Path]:
    """Replace each folder by the pictures in it, by name.

    Args:
        paths (list[Path]): Files and folders.

    Raises:
        FileNotFoundError: If there is no such file or no picture in a folder.
    """
    images = []
    for path in paths:
        if path.is_dir():
            found = sorted(
                file
                for file in path.iterdir()
                if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
            )
            if not found:
                raise FileNotFoundError(
                    f'the folder {path} has no picture in it '
                    f'({", ".join(IMAGE_SUFFIXES)})'
                )
            images += found
        elif path.is_file():
            images.append(path)
        else:
            raise FileNotFoundError(f'{path}: there is no such image file')
    return images


def _output_names(images: list[Path]) -> list[str]:
    """Stem of each picture; with its suffix or a number where two agree."""
    names = []
    for path in images:
        name, number = path.stem, 2
        while name in names:
            name, number = f'{path.stem}-{number}', number + 1
        names.append(name)
    return names
