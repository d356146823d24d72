# SPDX-License-Identifier: Apache-2.0
"""Command ``export``: a model as a file that runs without this package."""

import argparse
from pathlib import Path

from ovseg_mm.utils.options import add_cfg_options


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the parser of the command ``export``."""
    parser = subparsers.add_parser(
        'export',
        help='write a model as ONNX or for torch.export',
        description='Write a model of CAT-Seg, Cascade-CLIP or a method '
        'without training as a graph that runs without this package. The '
        'inputs are B images (B, 3, H, W), RGB in [0, 255], and embeddings '
        'of T class texts (T, P, C), with P prompts per class and C '
        'channels. The outputs are scores (B, T, H, W). B and T can be any '
        'number; H and W too, except for CAT-Seg, which takes the size of a '
        'window. Windows are cut outside of the graph. Before the file is '
        'written, the labels of the graph are compared with the labels of '
        'the PyTorch model. The file DST.json describes the inputs.',
    )
    parser.add_argument(
        'model',
        metavar='MODEL',
        help="name of a model that 'python -m ovseg_mm models' lists; or a "
        'config file, or the bare name of a shipped config',
    )
    parser.add_argument(
        'dst',
        metavar='DST',
        type=Path,
        help='file to write, .onnx, .pt2 or .npz; an existing file is '
        'replaced only if export wrote it',
    )
    parser.add_argument(
        '--format',
        choices=('onnx', 'torch-export', 'embeddings'),
        default='onnx',
        help='onnx; torch-export: a .pt2 file for torch.export.load; or '
        'embeddings: no graph, but an .npz file with the embeddings of '
        '--classes, which are the text input of a graph (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--checkpoint',
        help='checkpoint of this package, or file published by the authors '
        'of the method (default: for the name of a model, its published '
        'weights, which are downloaded once; for a config, only the weights '
        'of CLIP)',
    )
    _add_graph_options(parser)
    add_cfg_options(parser)
    parser.set_defaults(run=run)


def _add_graph_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--classes',
        nargs='+',
        action='extend',
        metavar='WORDS',
        help='class texts that become part of the graph, in the same form '
        'as for the command predict; the graph then takes only images '
        '(default: the graph takes text embeddings too)',
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='height and width of the input images, if the graph takes '
        'images of only one size (default: the window of the config)',
    )
    parser.add_argument(
        '--image',
        metavar='FILE',
        help='image on which the labels of the graph are compared with '
        'those of the PyTorch model; images of random noise are always '
        'compared too',
    )


def run(args: argparse.Namespace) -> int:
    """Export a model and print what was written.

    Args:
        args (argparse.Namespace): Options of the command.

    Returns:
        int: Exit status 0.
    """
    from PIL import Image

    from ovseg_mm.apis.pictures import read_picture
    from ovseg_mm.deploy import export_model
    from ovseg_mm.vocabulary import load_vocabulary, parse_classes
    from ovseg_mm.zoo import resolve_model

    source = resolve_model(args.model, args.checkpoint)
    classes = image = None
    if args.classes is not None:
        classes = load_vocabulary(parse_classes(args.classes))
    if args.image is not None:
        image = Image.fromarray(read_picture(args.image).rgb)
    report = export_model(
        source,
        args.dst,
        args.format,
        classes,
        args.size and tuple(args.size),
        image,
        args.cfg_options,
    )
    facts = report.facts
    if args.format == 'embeddings':
        rows = [('text', f'{facts["shape"]}, {len(facts["names"])} classes')]
    else:
        rows = list(_rows(facts))
    for path in report.files:
        rows.append(('wrote', f'{path} ({path.stat().st_size / 1e6:.1f} MB)'))
    for label, text in rows:
        print(f'{label:8} {text}')
    return 0


def _rows(facts: dict) -> list[tuple[str, str]]:
    """Lines about a graph: its inputs, and the comparison with PyTorch."""
    given, compared = facts['input'], facts['compared']
    size = f'{given["height"]} x {given["width"]} pixels'
    if 'height' in given['dynamic']:
        size = f'any size from {given["least_side"]} pixels'
    rows = [('images', f'any number, {size}')]
    if facts['vocabulary'] is not None:
        rows.append(('text', ', '.join(facts['vocabulary']['names'])))
    else:
        text = given['text']
        most = f'1 to {text["most"]}' if text['most'] else 'any number of'
        shape = f'{text["prompts"]} x {text["channels"]}'
        rows.append(('text', f'{most} texts, {shape} each'))
    rows.append(
        (
            'compared',
            f'{compared["labels_equal"]:.2%} of the pixels have the same '
            'label as in PyTorch',
        )
    )
    return rows
