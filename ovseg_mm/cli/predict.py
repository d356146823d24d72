# SPDX-License-Identifier: Apache-2.0
"""``predict``: segment images with class texts of the command line."""

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ovseg_mm
from ovseg_mm.utils.errors import InputError, nearest
from ovseg_mm.utils.paths import expanded
from ovseg_mm.utils.picture_files import Job, find_jobs
from ovseg_mm.utils.result_files import (
    OUTPUTS,
    RASTER_OUTPUTS,
    check_outputs_known,
)
from ovseg_mm.zoo import ModelSource, add_model_arguments, model_of_arguments

from .bar import progress_bar
from .pictures import check_outputs, split_images

if TYPE_CHECKING:
    from ovseg_mm.apis.files import FileSegmenter
    from ovseg_mm.apis.records import Records
    from ovseg_mm.vocabulary import Vocabulary

KINDS = {**OUTPUTS, **RASTER_OUTPUTS}
# Smallest side of a window in pixels.
_LEAST_TILE = 32


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the command's options."""
    parser = subparsers.add_parser(
        'predict',
        help='segment images with your own class texts',
        usage='%(prog)s IMAGE [IMAGE ...] [--model NAME] --classes WORDS '
        '[WORDS ...] [--out FOLDER] [--save KINDS] [options]',
        description='Segment images, rasters and videos with your own class '
        'texts. Writes a label map and an overlay with a legend for each '
        'image, and results.jsonl with a line for each. Exit status 1: some '
        'files could not be read; 2: none could. Several processes: torchrun '
        '--nproc_per_node N -m ovseg_mm predict ... --launcher pytorch.',
    )
    parser.add_argument(
        'images',
        nargs='*',
        metavar='IMAGE',
        help='image, raster or video; folder of images, searched with its '
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
        help='what becomes of pixels that show none of the classes: words '
        'beside the classes, such as "wall; floor", or "coco": pixels that '
        'fit one of them best get no label; "threshold": pixels below '
        '--score-threshold get none; "none": each pixel gets a class '
        '(default: as the config says)',
    )
    parser.add_argument(
        '--score-threshold',
        type=float,
        metavar='SCORE',
        help='pixels whose best score is not above it get no label',
    )
    _add_output_options(parser)
    _add_running_options(parser)
    _add_raster_options(parser)
    parser.set_defaults(run=run)


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
        help=f'what to write, separated by commas: {", ".join(OUTPUTS)}, and '
        'gpkg for rasters (default: %(default)s)',
    )
    parser.add_argument(
        '--json',
        action='store_true',
        help='print a line of JSON for each image instead of text',
    )
    parser.add_argument(
        '--skip-existing',
        action='store_true',
        help='leave out images that an earlier run with the same settings '
        'has finished',
    )


def _add_running_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--device', help='such as cuda:0 (default: the best one)'
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        metavar='N',
        help='images, or frames of a video, that go through the model '
        'together (default: %(default)s)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=2,
        metavar='N',
        help='threads that read and write while the model works (default: '
        '%(default)s)',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: faster, with slightly different results',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        default='none',
        help='launcher of several processes, which share the images',
    )


def _add_raster_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        'rasters',
        'Georeferenced TIFF files and images of more than 89 megapixels are '
        'read in overlapping windows, whose scores are fused; the label map '
        'is a GeoTIFF. --bands or --tile do this for all images. Needs: pip '
        "install 'ovseg_mm[geo]'.",
    )
    group.add_argument(
        '--bands',
        type=int,
        nargs='+',
        metavar='N',
        help='bands for red, green and blue, counted from 1, or one for grey '
        '(default: those that the file calls red, green and blue, or the '
        'first)',
    )
    group.add_argument(
        '--tile',
        type=int,
        metavar='PIXELS',
        help='side of a window (default: 640)',
    )


def run(args: argparse.Namespace) -> int:
    """Segment all images.

    Args:
        args (argparse.Namespace): Options of the command.

    Returns:
        int: 0, or 1 if some images are damaged, 2 if all are; 130 if it was
        interrupted.
    """
    kinds = _checked_kinds(args)
    out = expanded(args.out)
    words, jobs = _words_and_jobs(args, out)
    source = model_of_arguments(args)
    check_outputs([job.path for job in jobs], _outputs(jobs, kinds, out))
    from ovseg_mm.vocabulary import load_vocabulary, parse_classes

    vocabulary = load_vocabulary(parse_classes(words))
    ovseg_mm.register()
    from torch import distributed

    from ovseg_mm.apis.records import Records
    from ovseg_mm.engine.distributed import join_processes
    from ovseg_mm.engine.launch import check_writable
    from ovseg_mm.utils.paths import write_text

    check_writable(out, '--out')
    settings = _settings(args, source, vocabulary)
    records = Records(out, settings, args.skip_existing)
    rank, processes = join_processes(args.launcher)
    left = [job for job in jobs if not records.is_done(job.path, kinds)]
    own = left[rank::processes]
    # Nothing is written before the model is known to work.
    segmenter = _segmenter(args, source, vocabulary, kinds) if own else None
    legend = out / 'classes.json'
    if rank == 0:
        records.start()
        names = json.dumps(vocabulary.label_names, indent=1)
        write_text(legend, names + '\n')
        if len(left) < len(jobs):
            _note(f'{len(jobs) - len(left)} of {len(jobs)} images are done')
    if processes > 1:
        distributed.barrier()
    try:
        if segmenter is not None:
            _segment(segmenter, own, records, rank, args.json)
    except KeyboardInterrupt:
        if rank == 0:
            _note(
                'interrupted; add --skip-existing to the same command to '
                'continue'
            )
        return 130
    if processes > 1:
        distributed.barrier()
    if rank:
        return 0
    found = records.join(job.path for job in jobs)
    if not args.json:
        print(f'label values: {legend}\nresults: {out / "results.jsonl"}')
    return _report_failures(found)


def _segmenter(
    args: argparse.Namespace,
    source: ModelSource,
    vocabulary: 'Vocabulary',
    kinds: tuple[str, ...],
) -> 'FileSegmenter':
    from PIL import Image

    from ovseg_mm.apis import OpenVocabInferencer
    from ovseg_mm.apis.files import FileOptions, FileSegmenter

    # Pillow warns of large images; these are read in windows.
    warnings.simplefilter('ignore', Image.DecompressionBombWarning)
    options = FileOptions(
        expanded(args.out),
        kinds,
        args.batch_size,
        args.workers,
        args.amp,
        args.bands and tuple(args.bands),
        args.tile,
        _call_options(args),
    )
    inferencer = OpenVocabInferencer(source, device=args.device)
    return FileSegmenter(inferencer, vocabulary, options)


def _segment(
    segmenter: 'FileSegmenter',
    jobs: Sequence[Job],
    records: 'Records',
    rank: int,
    as_json: bool,
) -> None:
    """Segment the files of this process; the first shows the progress."""
    with records.open(rank) as file, progress_bar(len(jobs), rank) as bar:
        segmenter.on_part = bar.part
        for record in segmenter.run(jobs):
            line = json.dumps(record, ensure_ascii=False)
            file.write(line + '\n')
            bar.file()
            if rank == 0 and as_json:
                print(line, flush=True)
            elif rank == 0 and 'error' not in record:
                print(_text_of(record, segmenter.words), flush=True)


def _checked_kinds(args: argparse.Namespace) -> tuple[str, ...]:
    """Kinds of results of ``--save``; numbers of options are checked too."""
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
            raise InputError(f'--{option} {value} is below {number}')
    return kinds


def _words_and_jobs(
    args: argparse.Namespace, out: Path
) -> tuple[list[str], list[Job]]:
    """Class texts and files of the command line, in any order."""
    words, taken = split_images(args.classes, alone=not args.images)
    if not words:
        raise InputError(
            f'--classes has no class text, only the image {taken[0]}; write: '
            'predict IMAGE ... --classes WORDS ...'
        )
    if not args.images and not taken:
        raise InputError(
            'no image is given; write: predict IMAGE ... --classes WORDS '
            '... (--classes takes all arguments after it)'
        )
    if taken:
        _note(f'read as images, not as classes: {", ".join(taken)}')
    return words, find_jobs([*args.images, *taken], out)


def _outputs(
    jobs: Sequence[Job], kinds: Sequence[str], out: Path
) -> Iterator[Path]:
    for job in jobs:
        for kind in kinds:
            for endings in (OUTPUTS, RASTER_OUTPUTS):
                if kind in endings:
                    yield out / f'{job.name}{endings[kind]}'


def _settings(
    args: argparse.Namespace, source: ModelSource, vocabulary: 'Vocabulary'
) -> dict[str, Any]:
    """Settings that the results depend on."""
    return dict(
        classes=vocabulary.fingerprint,
        model=source.name,
        checkpoint=source.checkpoint and str(source.checkpoint),
        amp=args.amp,
        bands=args.bands,
        tile=args.tile,
        **_call_options(args),
    )


def _call_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options of the inferencer's calls."""
    from ovseg_mm.vocabulary import parse_classes

    background = args.background
    if background is not None:
        known = ('none', 'threshold', 'coco')
        word = background[0]
        # A misspelt option is reported by the inferencer.
        if len(background) == 1 and (word in known or nearest(word, known)):
            background = word
        else:
            background = parse_classes(background)
    return dict(background=background, score_threshold=args.score_threshold)


def _text_of(record: dict[str, Any], vocabulary: 'Vocabulary') -> str:
    """Shares of the classes, or advice if none was found, and the files."""
    shares = record['shares']
    if shares:
        found = ', '.join(f'{n} {part:.1%}' for n, part in shares.items())
    elif vocabulary.num_texts == 1:
        found = (
            'nothing found; add classes for the rest of the image, such '
            f'as --classes "{vocabulary.names[0]}; wall; sky", or '
            'use another class text'
        )
    else:
        found = (
            'nothing found; use other class texts, or a lower '
            '--score-threshold'
        )
    return '\n  '.join(
        [f'{record["image"]}: {found}', *record['files'].values()]
    )


def _report_failures(records: Sequence[dict[str, Any]]) -> int:
    """Print the errors of files that could not be read; exit status."""
    errors = [r['error'] for r in records if 'error' in r]
    for error in errors:
        print(f'error: {error}', file=sys.stderr)
    if errors and len(errors) == len(records):
        return 2
    return 1 if errors else 0


def _note(text: str) -> None:
    print(text, file=sys.stderr)
