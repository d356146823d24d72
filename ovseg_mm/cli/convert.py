# SPDX-License-Identifier: Apache-2.0
"""Command ``convert``: make a checkpoint from published weights."""

import argparse
from collections import Counter
from pathlib import Path

import ovseg_mm
from ovseg_mm.utils.paths import check_destination, expanded, find_checkpoint

_SHOWN = 20


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the parser of the command ``convert``."""
    parser = subparsers.add_parser(
        'convert',
        help='convert a published checkpoint or CLIP archive to a checkpoint '
        'of this package',
        description='Convert a file of any known layout to a checkpoint for '
        'the tools of this package and mmseg.apis.init_model, and report how '
        'each tensor was used.',
    )
    parser.add_argument('src', metavar='SRC', type=Path, help='file to read')
    parser.add_argument('dst', metavar='DST', type=Path, help='file to write')
    parser.add_argument(
        '--config',
        metavar='CFG',
        help='config or name of the model that the result must fit; nothing '
        'is written if a learned tensor is missing or has another shape',
    )
    parser.add_argument(
        '--fuse-clip',
        metavar='CLIP',
        type=Path,
        help='for SCAN: file of a CLIP that was fine-tuned separately, with '
        'contextual shift; its region tower and text tower replace those of '
        'SRC',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert a file and print how each tensor was used."""
    for path in (args.src, args.fuse_clip):
        find_checkpoint(path)
    check_destination(expanded(args.dst))
    ovseg_mm.register()
    from ovseg_mm.checkpoints import convert
    from ovseg_mm.engine.launch import read_config

    config = None if args.config is None else read_config(args.config)
    report = convert(args.src, args.dst, config, args.fuse_clip)
    rows = [
        ('read', f'{report.source} ({report.method}, layout {report.layout})'),
        ('used', _tensors(len(report.used))),
    ]
    for reason, count in Counter(report.dropped.values()).items():
        rows.append(('dropped', f'{_tensors(count)}: {reason}'))
    if args.fuse_clip:
        fused = f'{_tensors(report.fused)} replaced by tensors of'
        rows.append(('fused', f'{fused} {args.fuse_clip}'))
    rows.append(('unused', _tensors(len(report.unused))))
    rows += [('', name) for name in report.unused[:_SHOWN]]
    if len(report.unused) > _SHOWN:
        rows.append(('', f'and {len(report.unused) - _SHOWN} more'))
    checked = (
        f'every learned tensor of {args.config} is present'
        if report.checked
        else 'no; give --config to compare it with a model'
    )
    rows.append(('checked', checked))
    rows.append(('wrote', f'{args.dst} ({_tensors(report.converted)})'))
    for label, text in rows:
        print(f'{label:8} {text}')
    return 0


def _tensors(count: int) -> str:
    return f'{count} tensor{"s" if count != 1 else ""}'
