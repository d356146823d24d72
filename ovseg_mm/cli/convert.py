# SPDX-License-Identifier: Apache-2.0
"""``python -m ovseg_mm convert``: published weights into our checkpoint."""

import argparse
from collections import Counter
from pathlib import Path

_SHOWN = 20


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        'convert',
        help='turn a published checkpoint or CLIP archive into a checkpoint '
        'of this package',
        description='Reads any known layout, writes a checkpoint that the '
        'tools here and mmseg.apis.init_model load, and reports what became '
        'of every tensor.',
    )
    parser.add_argument('src', metavar='SRC', type=Path, help='file to read')
    parser.add_argument('dst', metavar='DST', type=Path, help='file to write')
    parser.add_argument(
        '--config',
        metavar='CFG',
        type=Path,
        help='model config that the result must fit; nothing is written if '
        'a learned tensor is missing or misshapen',
    )
    parser.add_argument(
        '--fuse-clip',
        metavar='CLIP',
        type=Path,
        help='CLIP with contextual shift, fine-tuned by itself, whose region '
        'and text towers take the place of those in SRC (SCAN)',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert and print the report."""
    from ovseg_mm.checkpoints import convert

    report = convert(args.src, args.dst, args.config, args.fuse_clip)
    rows = [
        ('read', f'{report.source} ({report.method}, layout {report.layout})'),
        ('used', _tensors(len(report.used))),
    ]
    for reason, count in Counter(report.dropped.values()).items():
        rows.append(('dropped', f'{_tensors(count)}: {reason}'))
    if args.fuse_clip:
        fused = f'{_tensors(report.fused)} replaced by those of'
        rows.append(('fused', f'{fused} {args.fuse_clip}'))
    rows.append(('unused', _tensors(len(report.unused))))
    rows += [('', name) for name in report.unused[:_SHOWN]]
    if len(report.unused) > _SHOWN:
        rows.append(('', f'and {len(report.unused) - _SHOWN} more'))
    checked = (
        f'every learned tensor of {args.config} is there'
        if report.checked
        else 'no, give --config to hold it against a model'
    )
    rows.append(('checked', checked))
    rows.append(('wrote', f'{args.dst} ({_tensors(report.converted)})'))
    for label, text in rows:
        print(f'{label:8} {text}')
    return 0


def _tensors(count: int) -> str:
    return f'{count} tensor{"s" if count != 1 else ""}'
