# SPDX-License-Identifier: Apache-2.0
"""``python -m ovseg_mm models``: list of the shipped configs."""

import argparse


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        'models',
        help='list the shipped configs: method, CLIP, training data, '
        'published mIoU, weights',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one paragraph for each config."""
    from ovseg_mm.utils.model_index import list_models

    for entry in list_models():
        miou = ', '.join(f'{key} {value}' for key, value in entry.miou.items())
        print(entry.name)
        for label, text in (
            ('method', entry.method),
            ('CLIP', entry.clip),
            ('trained on', entry.training_data),
            ('tested on', entry.test_set),
            ('mIoU', f'{miou} (published)' if miou else ''),
            ('weights', entry.weights),
            ('config', entry.config),
        ):
            if text:
                print(f'  {label:11}{text}')
    return 0
