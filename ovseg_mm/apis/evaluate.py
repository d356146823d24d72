# SPDX-License-Identifier: Apache-2.0
"""Evaluation of one model on several benchmarks."""

import hashlib
import json
import os
import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.dist import barrier, get_dist_info, init_dist
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import autocast
from mmseg.apis import init_model
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS, METRICS
from rich.progress import track
from torch.utils.data import DataLoader, Subset

from ovseg_mm.engine.compiling import compile_towers
from ovseg_mm.engine.config_check import check_config
from ovseg_mm.engine.distributed import setup_cpu_processes
from ovseg_mm.engine.launch import read_config
from ovseg_mm.engine.weights import load_weights
from ovseg_mm.evaluation import OpenVocabIoUMetric
from ovseg_mm.inference import amp_dtype
from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor
from ovseg_mm.utils.devices import set_matmul_precision
from ovseg_mm.utils.errors import InputError, config_errors
from ovseg_mm.utils.stack import installed_packages
from ovseg_mm.version import __version__
from ovseg_mm.vocabulary import (
    Vocabulary,
    check_same_classes,
    load_vocabulary,
)
from ovseg_mm.zoo import ModelSource, resolve_model

from .benchmarks import Benchmark, find_benchmark
from .progress import EvaluationProgress
from .report import Row, read_rows, write_reports


@dataclass
class Evaluation:
    """Results on several data sets.

    Attributes:
        rows (list[Row]): One row per data set: ``dataset`` (name), ``images``
            (number), ``metrics`` (percentages by name) and ``settings``
            (values by name). In a distributed launch, only the first process
            adds rows.
        skipped (dict[str, str]): Reason why a data set was skipped, by name
            of the data set.
    """

    rows: list[Row] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def evaluate(
    model: str | Path,
    checkpoint: str | Path | None,
    datasets: Sequence[str],
    work_dir: str | Path,
    launcher: str = 'none',
    cfg_options: dict | None = None,
    output_dir: str | Path | None = None,
) -> Evaluation:
    """Evaluate a model on several data sets, one after the other.

    The confusion counts of each image are saved in ``work_dir``. If a call
    was interrupted, the same call continues with the images that are left.
    Results of earlier calls on other data sets stay in the table. In a
    distributed launch, all processes call this function, and each process
    tests a part of the images.

    Args:
        model (str | Path): Name of a model, see
            :func:`ovseg_mm.zoo.resolve_model`; or a config, by path or bare
            name.
        checkpoint (str | Path, optional): Checkpoint of this package or of
            the method's authors. None: for a model name, the weights of this
            model, which are downloaded once; for a config, only the weights
            of CLIP.
        datasets (Sequence[str]): Benchmarks (keys of ``BENCHMARKS``), or
            configs by path or bare name. A config sets the test data, the
            metric and the model, which must fit the weights. For a benchmark,
            :func:`~ovseg_mm.apis.benchmarks.find_benchmark` chooses a config,
            because constants of some methods differ between benchmarks; the
            results name the chosen config.
        work_dir (str | Path): Folder for ``results.json``, ``results.csv``
            and ``results.md``, and for ``evaluate.log`` with the scores of
            each class.
        launcher (str): Launcher that has started the processes,
            ``'pytorch'``, ``'slurm'`` or ``'mpi'``; ``'none'`` for a single
            process.
        cfg_options (dict, optional): Settings to override in the configs of
            the model and of all data sets.
        output_dir (str | Path, optional): Folder for predicted label maps.
            None: label maps are not saved.

    Returns:
        Evaluation: The results. A data set whose files are missing is
        skipped.

    Raises:
        FileNotFoundError: If a model, config or checkpoint does not exist.
        InputError: If the checkpoint does not fit the config, a vocabulary
            lists the classes of a data set in another order, or ``work_dir``
            holds results of another evaluation.
    """
    source = resolve_model(model, checkpoint)
    options = {**source.options, **(cfg_options or {})}
    cfg = read_config(source.config, options)
    cfg.launcher = launcher
    chosen = {key: find_benchmark(key, cfg, options) for key in datasets}
    for benchmark in chosen.values():
        keys = ('model', 'test_dataloader', 'test_evaluator')
        check_config(benchmark.cfg, keys, 'mmseg')
    work_dir = Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    _init_processes(cfg)
    set_matmul_precision(cfg)
    _log_to(work_dir / 'evaluate.log')
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    evaluation = Evaluation(rows=read_rows(work_dir))
    built = _build_datasets(chosen, evaluation.skipped)
    if get_dist_info()[0] == 0:
        for key in built:
            print(f'{key}: image size and constants {chosen[key].constants}')
    vocabularies = {
        key: _vocabulary(chosen[key].cfg, dataset, key)
        for key, dataset in built.items()
    }
    fp16 = cfg.get('test_cfg', {}).get('fp16', False)
    weights = source.fetch() if built else None
    network, digest, loaded = None, '', None
    for key, dataset in built.items():
        benchmark = chosen[key]
        if network is None or _network(benchmark.cfg) != loaded:
            benchmark.cfg.model.vocabulary = vocabularies[key]
            network, digest = _load(benchmark.cfg, weights)
            compile_towers(network, cfg.get('compile', False))
            loaded = _network(benchmark.cfg)
        network.set_vocabulary(vocabularies[key])
        settings = _settings(benchmark, network, digest, fp16, source)
        metric = _build_metric(benchmark.cfg, network, output_dir, key)
        progress = EvaluationProgress(work_dir / Path(key).stem, settings)
        workers = benchmark.cfg.test_dataloader.get('num_workers', 0)
        with autocast(enabled=fp16):
            counts = _count(network, dataset, metric, progress, workers, key)
        if get_dist_info()[0] == 0:
            settings['constants'] = benchmark.constants
            metrics = metric.compute_metrics(counts)
            row = _row(key, len(dataset), metrics, settings)
            _add_row(evaluation, row)
            write_reports(work_dir, evaluation.rows, evaluation.skipped)
    if get_dist_info()[0] == 0:
        write_reports(work_dir, evaluation.rows, evaluation.skipped)
    # Launchers kill the other processes when one ends with an error status.
    barrier()
    return evaluation


def _row(dataset: str, images: int, metrics: dict, settings: dict) -> Row:
    """Results on one data set, as a row of the table."""
    return dict(
        dataset=dataset, images=images, metrics=metrics, settings=settings
    )


def _add_row(evaluation: Evaluation, row: Row) -> None:
    """Add results on a data set; they replace earlier results on it."""
    key = row['dataset']
    others = [other for other in evaluation.rows if other['dataset'] != key]
    evaluation.rows = [*others, row]


def _build_datasets(
    chosen: dict[str, Benchmark], skipped: dict[str, str]
) -> dict[str, BaseSegDataset]:
    """Build the data sets; a data set without files goes to ``skipped``."""
    built = {}
    for key, benchmark in chosen.items():
        try:
            built[key] = DATASETS.build(benchmark.cfg.test_dataloader.dataset)
        except FileNotFoundError as error:
            skipped[key] = str(error)
    return built


def _vocabulary(cfg: Config, dataset: BaseSegDataset, key: str) -> Vocabulary:
    """Vocabulary of the model, or of the data set if the model has none.

    An error is raised if the vocabulary does not list the classes of the
    data set in the same order.
    """
    source = cfg.model.get('vocabulary') or dataset.vocabulary
    vocabulary = load_vocabulary(source)
    check_same_classes(vocabulary, dataset.metainfo['classes'], key)
    return vocabulary


def _network(cfg: Config) -> dict[str, Any]:
    """Settings of a config's model, without vocabularies.

    Two data sets are tested with one model if these settings are equal.
    """
    model = cfg.to_dict()['model']
    return {k: v for k, v in model.items() if not k.endswith('vocabulary')}


def _load(
    cfg: Config, checkpoint: Path | None
) -> tuple[BaseOpenVocabSegmentor, str]:
    """Build a model; return it and the SHA-256 of its weights."""
    with config_errors():
        model = init_model(cfg, None, get_device())
    # Scores are not needed, only labels.
    model.test_cfg.setdefault('keep_scores', False)
    return model, load_weights(model, checkpoint).sha256(model)


def _init_processes(cfg: Config) -> None:
    if cfg.launcher == 'none':
        return
    setup_cpu_processes(cfg)
    if not torch.distributed.is_initialized():
        init_dist(cfg.launcher, **cfg.env_cfg.get('dist_cfg', {}))


def _log_to(path: Path) -> None:
    """Write the log, with scores of each class, to a file.

    The terminal shows only warnings.
    """
    logger = MMLogger.get_instance('evaluate', log_file=str(path))
    logger.handlers[0].setLevel('WARNING')


def _build_metric(
    cfg: Config,
    model: BaseOpenVocabSegmentor,
    output_dir: str | Path | None,
    key: str,
) -> OpenVocabIoUMetric:
    evaluator = cfg.test_evaluator
    metric = METRICS.build(evaluator) if isinstance(evaluator, dict) else None
    if not isinstance(metric, OpenVocabIoUMetric):
        raise InputError(
            f'{key}: test_evaluator is {evaluator}; set it to one metric: '
            "test_evaluator = dict(type='OpenVocabIoUMetric')"
        )
    metric.dataset_meta = model.vocabulary.metainfo
    if output_dir is not None:
        metric.output_dir = Path(output_dir) / Path(key).stem
    return metric


def _settings(
    benchmark: Benchmark,
    model: BaseOpenVocabSegmentor,
    checkpoint: str,
    fp16: bool,
    source: ModelSource,
) -> dict[str, Any]:
    """Settings that influence the results on a data set, by name."""
    whole = benchmark.cfg.to_dict()
    data = whole['test_dataloader']['dataset']
    data.pop('data_root', None)
    network = _network(benchmark.cfg)
    network.pop('test_cfg', None)
    recipe = json.dumps(
        [network, data, whole['test_evaluator']], sort_keys=True, default=str
    )
    dtype = amp_dtype(get_device()) if fp16 else torch.float32
    packages = [p for found in installed_packages().values() for p in found]
    return dict(
        **({} if source.model is None else {'model': source.name}),
        config=benchmark.config,
        vocabulary=model.vocabulary.fingerprint,
        templates=model.text_bank.templates,
        synonyms=model.text_bank.synonyms,
        image_size=[
            step['scale'] for step in data['pipeline'] if 'scale' in step
        ],
        windows={
            key: value
            for key, value in model.test_cfg.items()
            # These two do not change the results.
            if key not in ('window_batch', 'keep_scores')
        },
        precision=str(dtype).removeprefix('torch.'),
        float32_products=torch.get_float32_matmul_precision(),
        checkpoint=checkpoint,
        recipe=hashlib.sha256(recipe.encode()).hexdigest(),
        versions={
            'ovseg_mm': __version__,
            'torch': torch.__version__,
            **{package.name: package.version for package in packages},
        },
    )


@torch.no_grad()
def _count(
    model: BaseOpenVocabSegmentor,
    dataset: BaseSegDataset,
    metric: OpenVocabIoUMetric,
    progress: EvaluationProgress,
    workers: int,
    key: str,
) -> list:
    """Confusion counts of each image, in the order of the data set.

    Images whose counts were saved by an earlier run are not segmented again,
    unless the file of their predicted label map is missing.
    """
    rank, world_size = get_dist_info()
    samples = [dataset.get_data_info(index) for index in range(len(dataset))]
    names = [sample['img_path'] for sample in samples]
    stamps = dict(zip(names, map(_stamp, samples)))
    done = progress.read(stamps)
    left = [
        index
        for index, sample in enumerate(samples)
        if names[index] not in done or not metric.has_written(sample)
    ]
    if rank == 0 and len(left) < len(names):
        print(
            f'{key}: {len(names) - len(left)} of {len(names)} images were '
            f'counted before ({progress.folder})'
        )
    # All processes read before one of them writes.
    barrier()
    model.prepare_text()
    own = left[rank::world_size]
    loader = DataLoader(
        Subset(dataset, own),
        num_workers=workers,
        collate_fn=pseudo_collate,
    )
    with progress.open(rank) as file:
        for index, data in zip(
            own,
            track(loader, key, total=len(own), disable=rank != 0),
        ):
            results = model.test_step(data)
            metric.process(data, [result.to_dict() for result in results])
            name = names[index]
            progress.write(file, name, stamps[name], metric.results.pop())
    barrier()
    done = progress.read(stamps)
    return [done[name] for name in names]


def _stamp(sample: dict) -> list[list[int]]:
    """Size and modification time of a sample's files, to detect changes."""
    paths = [sample.get('img_path'), sample.get('seg_map_path')]
    stats = [os.stat(path) for path in paths if path and osp.isfile(path)]
    return [[stat.st_size, stat.st_mtime_ns] for stat in stats]
