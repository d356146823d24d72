# SPDX-License-Identifier: Apache-2.0
"""Command ``models``: list the published models, or the shipped configs."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.model_index import list_models
from ovseg_mm.zoo import DEFAULT_MODEL, ZooModel, find_model, zoo_models

_HEADER = ('name', 'method', 'licence', 'download', 'ADE20K', 'good for')


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the parser of the command ``models``."""
    parser = subparsers.add_parser(
        'models',
        help='list the models that commands take by name',
        description='List the models that commands take by name, with the '
        'licence of their weights, the size of the download and the '
        'published mIoU on ADE20K (150 classes). With a name: details of '
        'this model, and commands to use it.',
    )
    parser.add_argument('name', nargs='?', help='show only this model')
    parser.add_argument(
        '--configs',
        action='store_true',
        help='list all shipped configs, not only the models with a name; for '
        'each config: method, CLIP, training data, published mIoU, weights',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table of models, details of one model, or the configs."""
    if args.configs:
        if args.name is not None:
            raise InputError(
                f'--configs lists all configs; leave out {args.name}'
            )
        _print_configs()
        return 0
    if args.name is None:
        _print_table(zoo_models().values())
    else:
        _print_model(find_model(args.name))
    return 0


def _print_table(models: Iterable[ZooModel]) -> None:
    rows: list[Sequence[str]] = [_HEADER]
    for model in models:
        ade = model.miou.get('ade150')
        rows.append(
            (
                model.name,
                model.entry.method,
                model.weights_licence,
                model.size,
                '' if ade is None else f'{ade:.1f}',
                model.good_for,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths))
        print('  '.join(cells).rstrip())
    print(
        '\nADE20K: published mIoU in percent, 150 classes. The licence '
        'applies to the weights.\nDetails of a model: python -m ovseg_mm '
        f'models {DEFAULT_MODEL}'
    )


def _print_model(model: ZooModel) -> None:
    miou = ', '.join(f'{key} {value}' for key, value in model.miou.items())
    print(model.name)
    _print_rows(
        [
            ('good for', model.good_for),
            ('method', model.entry.method),
            ('CLIP', model.entry.clip),
            ('trained on', model.entry.training_data),
            ('licence', f'{model.weights_licence} (weights)'),
            ('', f"{model.code_licence} (authors' code)"),
            ('mIoU', f'{miou} (published)' if miou else ''),
            ('download', model.size),
            *_file_rows(model),
            ('config', model.entry.config),
            ('settings', ', '.join(f'{k}={v}' for k, v in _options(model))),
        ]
    )
    datasets = ','.join(model.miou) or 'ade150'
    commands = [
        'predict photo.jpg --classes "road; sofa|couch; sky" --model '
        f'{model.name}',
        f'evaluate {model.name} --datasets {datasets}',
    ]
    if model.any_clip:
        commands.append(
            'predict photo.jpg --classes "road; sofa|couch; sky" --model '
            f'{model.name}:ViT-L-14-336/openai'
        )
    if model.file is not None:
        commands.insert(0, f'add {model.name} {model.file.name or "FILE"}')
    if model.file is not None and model.file.repository:
        commands.append(commands.pop(0))
    print('\ncommands')
    for command in commands:
        print(f'  python -m ovseg_mm {command}')


def _options(model: ZooModel) -> list[tuple[str, object]]:
    return [
        (key.removeprefix('model.'), value)
        for key, value in model.options.items()
        if not isinstance(value, dict)
    ]


def _file_rows(model: ZooModel) -> list[tuple[str, str]]:
    """Lines about the weight file: its web page and its path in the cache."""
    file = model.file
    if file is None:
        return []
    from ovseg_mm.utils.hub import HubFile
    from ovseg_mm.zoo.store import stored_checkpoint

    page = file.page
    if file.repository:
        revision = file.revision or 'main'
        home = HubFile(file.repository, file.name, file.kind, revision)
        page = home.page
    stored = stored_checkpoint(model)
    return [
        ('file', ' '.join(filter(None, (file.name, page)))),
        ('', file.note),
        ('SHA-256', file.sha256),
        ('stored', 'not yet' if stored is None else str(stored)),
    ]


def _print_configs() -> None:
    for entry in list_models():
        miou = ', '.join(f'{key} {value}' for key, value in entry.miou.items())
        print(entry.name)
        _print_rows(
            [
                ('method', entry.method),
                ('CLIP', entry.clip),
                ('trained on', entry.training_data),
                ('tested on', entry.test_set),
                ('mIoU', f'{miou} (published)' if miou else ''),
                ('weights', entry.weights),
                ('config', str(Path(entry.config))),
            ]
        )


def _print_rows(rows: Iterable[tuple[str, str]]) -> None:
    for label, text in rows:
        if text:
            print(f'  {label:11}{text}')
