# SPDX-License-Identifier: Apache-2.0
"""Command ``predict``: segment images with given class texts."""

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ovseg_mm
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import expanded
from ovseg_mm.utils.picture_files import VIDEO_SUFFIXES, Job, find_jobs
from ovseg_mm.utils.result_files import (
    OUTPUTS,
    RASTER_OUTPUTS,
    video_outputs,
)
from ovseg_mm.utils.speed_options import speed_options
from ovseg_mm.utils.stack import check_stack
from ovseg_mm.zoo import ModelSource, model_of_arguments

from .bar import progress_bar
from .pictures import check_outputs, split_images
from .predict_options import add_options, call_options, checked_kinds

if TYPE_CHECKING:
    from ovseg_mm.apis.files import FileSegmenter
    from ovseg_mm.apis.records import Records
    from ovseg_mm.vocabulary import Vocabulary


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the parser of the command ``predict``."""
    parser = subparsers.add_parser(
        'predict',
        help='segment images with your own class texts',
        usage='%(prog)s IMAGE [IMAGE ...] [--model NAME] --classes WORDS '
        '[WORDS ...] [--out FOLDER] [--save KINDS] [options]',
        description='Segment images, rasters and videos with your own class '
        'texts. Writes a label map and an overlay with a legend for each '
        'image, and the file results.jsonl with a line for each image. Exit '
        'status 1: some files could not be read; 2: no file could be read. '
        'Several processes: torchrun --nproc_per_node N -m ovseg_mm predict '
        '... --launcher pytorch.',
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Segment all files and save the results.

    Args:
        args (argparse.Namespace): Options of the command.

    Returns:
        int: Exit status: 0 on success, 1 if some files could not be read, 2
        if no file could be read, 130 if the command was interrupted.
    """
    kinds = checked_kinds(args)
    out = expanded(args.out)
    words, jobs = _words_and_jobs(args, out)
    source = model_of_arguments(args)
    check_outputs([job.path for job in jobs], _outputs(jobs, kinds, out))
    # Vocabularies take their palettes from MMSegmentation.
    check_stack()
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
    left = [
        job
        for job in jobs
        if not records.is_done(job.path, _kinds_of(job, kinds))
    ]
    own = left[rank::processes]
    # The model is built before files are written, since it may fail.
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

    # Pillow warns about large images, but these are read in tiles.
    warnings.simplefilter('ignore', Image.DecompressionBombWarning)
    options = FileOptions(
        expanded(args.out),
        kinds,
        args.batch_size,
        args.workers,
        args.bands and tuple(args.bands),
        args.tile,
        call_options(args),
    )
    inferencer = OpenVocabInferencer(
        source, device=args.device, **speed_options(args)
    )
    return FileSegmenter(inferencer, vocabulary, options)


def _segment(
    segmenter: 'FileSegmenter',
    jobs: Sequence[Job],
    records: 'Records',
    rank: int,
    as_json: bool,
) -> None:
    """Segment the files of this process and write their records.

    Only the first process prints results and shows the progress.
    """
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


def _words_and_jobs(
    args: argparse.Namespace, out: Path
) -> tuple[list[str], list[Job]]:
    """Class texts and files to segment, from the command line.

    Images may stand before ``--classes`` or after its class texts.
    """
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
        tables = [OUTPUTS, RASTER_OUTPUTS]
        if job.path.suffix.lower() in VIDEO_SUFFIXES:
            tables = [video_outputs(job.path.suffix)]
        for kind in _kinds_of(job, kinds):
            for endings in tables:
                if kind in endings:
                    yield out / f'{job.name}{endings[kind]}'


def _kinds_of(job: Job, kinds: Sequence[str]) -> Sequence[str]:
    """Return the kinds of results to write for a file.

    For images, these are ``kinds``. For videos, they are always the same.
    """
    if job.path.suffix.lower() in VIDEO_SUFFIXES:
        return tuple(video_outputs(job.path.suffix))
    return kinds


def _settings(
    args: argparse.Namespace, source: ModelSource, vocabulary: 'Vocabulary'
) -> dict[str, Any]:
    """Settings that influence the results, by name."""
    return dict(
        classes=vocabulary.fingerprint,
        model=source.name,
        checkpoint=source.checkpoint and str(source.checkpoint),
        **speed_options(args),
        bands=args.bands,
        tile=args.tile,
        **call_options(args),
    )


def _text_of(record: dict[str, Any], vocabulary: 'Vocabulary') -> str:
    """Text to print for a file: shares of classes, and paths of results.

    If no class was found, the text says what to try instead.
    """
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
    """Print the errors of failed files, and return the exit status."""
    errors = [r['error'] for r in records if 'error' in r]
    for error in errors:
        print(f'error: {error}', file=sys.stderr)
    if errors and len(errors) == len(records):
        return 2
    return 1 if errors else 0


def _note(text: str) -> None:
    print(text, file=sys.stderr)
