# SPDX-License-Identifier: Apache-2.0
"""One model on several benchmarks."""

import copy
import hashlib
import json
import os
import os.path as osp
import re
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

from ovseg_mm.analysis.speed import amp_dtype
from ovseg_mm.checkpoints import load_checkpoint_into
from ovseg_mm.checkpoints.files import file_sha256
from ovseg_mm.engine.config_check import check_config
from ovseg_mm.engine.config_options import merge_options
from ovseg_mm.engine.distributed import setup_cpu_processes
from ovseg_mm.engine.launch import read_config
from ovseg_mm.evaluation import OpenVocabIoUMetric
from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor
from ovseg_mm.utils.devices import set_matmul_precision
from ovseg_mm.utils.paths import resource
from ovseg_mm.utils.stack import installed_packages
from ovseg_mm.version import __version__
from ovseg_mm.vocabulary import (
    Vocabulary,
    check_same_classes,
    load_vocabulary,
)

from .progress import EvaluationProgress
from .report import Row, read_rows, write_reports

# Name of each benchmark, and the config base that describes it; configs of
# models on it have that name in theirs, with hyphens.
BENCHMARKS = {
    'ade150': 'ade20k',
    'ade847': 'ade20k-847',
    'pc59': 'pascal_context_59',
    'pc459': 'pascal_context_459',
    'voc20': 'pascal_voc20',
    'voc20b': 'pascal_voc20b',
    'coco': 'coco-stuff164k',
    'stuff': 'coco-stuff164k',
    'voc21': 'pascal_voc21',
    'pc60': 'pascal_context_60',
    'object': 'coco-object',
    'cityscapes': 'cityscapes',
}


@dataclass
class Evaluation:
    """Results on several data sets.

    Attributes:
        rows: For each data set ``dataset``, ``images``, ``metrics`` and
            ``settings``; on the first process only.
        skipped: Why a data set was not evaluated, by its name.
    """

    rows: list[Row] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def evaluate(
    config: str | Path,
    checkpoint: str | Path,
    datasets: Sequence[str],
    work_dir: str | Path,
    launcher: str = 'none',
    cfg_options: dict | None = None,
    output_dir: str | Path | None = None,
) -> Evaluation:
    """Evaluate a model on several data sets, one after the other.

    What was counted is kept in ``work_dir``; if the evaluation is killed,
    the same call goes on where it was, and results on other data sets stay
    in the table. To be called by all processes of a distributed launch; the
    images that are left are shared out among them.

    Args:
        config: Config of the model, by path or bare name.
        checkpoint: Weights, ours or a published file.
        datasets: Benchmarks (keys of ``BENCHMARKS``), or configs, which say
            all themselves: test data, metric, and a model that takes the same
            weights. A benchmark is tested with the config beside ``config``
            that differs in data set and size alone, since some methods have
            constants for each; if there is none, with the model and the
            ``test_pipeline`` of ``config``. The results name the config and
            say whose constants these are. A model is built anew only if it
            is another one.
        work_dir: Folder for results: ``results.json``, ``.csv``, ``.md``,
            and ``evaluate.log`` with the tables of classes.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        cfg_options: Settings to override in all of these configs.
        output_dir: Folder for predicted label maps.

    Returns:
        The results. Data sets whose files are missing are skipped.

    Raises:
        FileNotFoundError: If config or checkpoint do not exist.
        ValueError: If the checkpoint does not fit the config, a vocabulary
            has the classes of a data set in another order, or the work
            folder holds results of another evaluation.
    """
    cfg = read_config(config, cfg_options)
    cfg.launcher = launcher
    benchmarks = {key: _benchmark(key, cfg, cfg_options) for key in datasets}
    for benchmark in benchmarks.values():
        keys = ('model', 'test_dataloader', 'test_evaluator')
        check_config(benchmark, keys, 'mmseg')
    work_dir = Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    _init_processes(cfg)
    set_matmul_precision(cfg)
    _log_to(work_dir / 'evaluate.log')
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    evaluation = Evaluation(rows=read_rows(work_dir))
    built = _build_datasets(benchmarks, evaluation.skipped)
    if get_dist_info()[0] == 0:
        for key in built:
            _, constants = _origin(key, benchmarks[key], cfg)
            print(f'{key}: image size and constants {constants}')
    words = {
        key: _words(benchmarks[key], dataset, key)
        for key, dataset in built.items()
    }
    fp16 = cfg.get('test_cfg', {}).get('fp16', False)
    model, loaded = None, None
    for key, dataset in built.items():
        benchmark = benchmarks[key]
        if model is None or _network(benchmark) != loaded:
            benchmark.model.vocabulary = words[key]
            model, digest = _load(benchmark, checkpoint)
            loaded = _network(benchmark)
        model.set_vocabulary(words[key])
        name, constants = _origin(key, benchmark, cfg)
        settings = _settings(name, benchmark, model, digest, fp16)
        metric = _build_metric(benchmark, model, output_dir, key)
        progress = EvaluationProgress(work_dir / Path(key).stem, settings)
        workers = benchmark.test_dataloader.get('num_workers', 0)
        with autocast(enabled=fp16):
            counts = _count(model, dataset, metric, progress, workers, key)
        if get_dist_info()[0] == 0:
            row = dict(
                dataset=key,
                images=len(dataset),
                metrics=metric.compute_metrics(counts),
                settings=dict(settings, constants=constants),
            )
            others = [r for r in evaluation.rows if r['dataset'] != key]
            evaluation.rows = [*others, row]
            write_reports(work_dir, evaluation.rows, evaluation.skipped)
    if get_dist_info()[0] == 0:
        write_reports(work_dir, evaluation.rows, evaluation.skipped)
    # A process that ends with an error status has launchers kill the others.
    barrier()
    return evaluation


def _benchmark(key: str, cfg: Config, cfg_options: dict | None) -> Config:
    """Config of a data set and of the model that is tested on it."""
    if key not in BENCHMARKS:
        try:
            return read_config(key, cfg_options)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{key!r} is neither a benchmark ({", ".join(BENCHMARKS)}) '
                'nor a config file.'
            ) from error
    leaf = _config_beside(Path(cfg.filename), BENCHMARKS[key])
    if leaf is not None:
        return read_config(leaf, cfg_options)
    base = Config.fromfile(_base_of(BENCHMARKS[key]))
    base.test_dataloader.dataset.pipeline = cfg.test_pipeline
    base.model = copy.deepcopy(cfg.model)
    base.model.pop('vocabulary', None)
    merge_options(base, cfg_options or {})
    return base


def _base_of(name: str) -> Path:
    """Config base of a test set, with a training set if it has one."""
    paths = [
        resource('configs', '_base_', folder, f'{name}.py')
        for folder in ('datasets', 'test_sets')
    ]
    return next(path for path in paths if path.is_file())


def _origin(key: str, benchmark: Config, cfg: Config) -> tuple[str, str]:
    """Name of the config that a data set is tested with.

    Returns:
        The name, and whose constants it has: image size, thresholds, weights.
    """
    name, given = Path(benchmark.filename).stem, Path(cfg.filename).stem
    if name != BENCHMARKS.get(key):
        return name, 'of its own config'
    return given, f'of {given}, since there is no config for {key} beside it'


def _config_beside(config: Path, base: str) -> Path | None:
    """Config of the same model and schedule for another data set."""
    model, dataset = config.stem.rpartition('_')[0], base.replace('_', '-')
    name = re.compile(rf'{re.escape(model)}_{re.escape(dataset)}-\d+x\d+')
    paths = sorted(config.parent.glob('*.py'))
    return next((p for p in paths if name.fullmatch(p.stem)), None)


def _build_datasets(
    benchmarks: dict[str, Config], skipped: dict[str, str]
) -> dict[str, BaseSegDataset]:
    """Build the data sets; say of the others why they are skipped."""
    built = {}
    for key, benchmark in benchmarks.items():
        try:
            built[key] = DATASETS.build(benchmark.test_dataloader.dataset)
        except FileNotFoundError as error:
            skipped[key] = str(error)
    return built


def _words(benchmark: Config, dataset: BaseSegDataset, key: str) -> Vocabulary:
    """Class texts of a data set, after a look at their order."""
    # A benchmark's vocabulary goes before that of a model made for others.
    words = benchmark.model.get('vocabulary') or dataset.vocabulary
    vocabulary = load_vocabulary(words)
    check_same_classes(vocabulary, dataset.metainfo['classes'], key)
    return vocabulary


def _network(benchmark: Config) -> dict[str, Any]:
    """What makes a model another one than that of the data set before."""
    model = benchmark.to_dict()['model']
    return {k: v for k, v in model.items() if not k.endswith('vocabulary')}


def _load(
    benchmark: Config, checkpoint: str | Path
) -> tuple[BaseOpenVocabSegmentor, str]:
    """Build the model; return it and the SHA-256 of its weights."""
    model = init_model(benchmark, None, get_device())
    # Only labels are counted.
    model.test_cfg.setdefault('keep_scores', False)
    source = load_checkpoint_into(model, checkpoint).source
    return model, file_sha256(source)


def _init_processes(cfg: Config) -> None:
    if cfg.launcher == 'none':
        return
    setup_cpu_processes(cfg)
    if not torch.distributed.is_initialized():
        init_dist(cfg.launcher, **cfg.env_cfg.get('dist_cfg', {}))


def _log_to(path: Path) -> None:
    """Have the tables of classes, too long for a terminal, in a file."""
    logger = MMLogger.get_instance('evaluate', log_file=str(path))
    logger.handlers[0].setLevel('WARNING')


def _build_metric(
    benchmark: Config,
    model: BaseOpenVocabSegmentor,
    output_dir: str | Path | None,
    key: str,
) -> OpenVocabIoUMetric:
    evaluator = benchmark.test_evaluator
    metric = METRICS.build(evaluator) if isinstance(evaluator, dict) else None
    if not isinstance(metric, OpenVocabIoUMetric):
        raise ValueError(
            f'{key}: test_evaluator must be one OpenVocabIoUMetric.'
        )
    metric.dataset_meta = model.vocabulary.metainfo
    if output_dir is not None:
        metric.output_dir = Path(output_dir) / Path(key).stem
    return metric


def _settings(
    config: str,
    benchmark: Config,
    model: BaseOpenVocabSegmentor,
    checkpoint: str,
    fp16: bool,
) -> dict[str, Any]:
    """What the figures of a data set depend on."""
    whole = benchmark.to_dict()
    data = whole['test_dataloader']['dataset']
    data.pop('data_root', None)
    network = _network(benchmark)
    network.pop('test_cfg', None)
    recipe = json.dumps(
        [network, data, whole['test_evaluator']], sort_keys=True, default=str
    )
    dtype = amp_dtype(get_device()) if fp16 else torch.float32
    packages = [p for found in installed_packages().values() for p in found]
    return dict(
        config=config,
        vocabulary=model.vocabulary.fingerprint,
        templates=model.text_bank.templates,
        synonyms=model.text_bank.synonyms,
        image_size=[
            step['scale'] for step in data['pipeline'] if 'scale' in step
        ],
        windows={
            key: value
            for key, value in model.test_cfg.items()
            # Those two have no influence.
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
    """Count the images that are left; return the counts of all."""
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
    # Nobody may write before everybody has read.
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
    """Sizes and times of the files of a sample, which tell of a change."""
    paths = [sample.get('img_path'), sample.get('seg_map_path')]
    stats = [os.stat(path) for path in paths if path and osp.isfile(path)]
    return [[stat.st_size, stat.st_mtime_ns] for stat in stats]
