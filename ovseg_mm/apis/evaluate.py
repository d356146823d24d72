# SPDX-License-Identifier: Apache-2.0
"""One model on several benchmarks."""

import copy
import hashlib
import json
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

from ovseg_mm.checkpoints import load_checkpoint_into
from ovseg_mm.checkpoints.files import file_sha256
from ovseg_mm.engine.distributed import setup_cpu_processes
from ovseg_mm.engine.launch import read_config
from ovseg_mm.engine.speed import amp_dtype
from ovseg_mm.evaluation import OpenVocabIoUMetric
from ovseg_mm.evaluation.progress import EvaluationProgress
from ovseg_mm.evaluation.report import Row, write_reports
from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor
from ovseg_mm.paths import resource
from ovseg_mm.stack import installed_packages
from ovseg_mm.version import __version__

# Name of each benchmark, and the config base that describes it.
BENCHMARKS = {
    'ade150': 'ade20k',
    'ade847': 'ade20k-847',
    'pc59': 'pascal_context_59',
    'pc459': 'pascal_context_459',
    'voc20': 'pascal_voc20',
    'voc20b': 'pascal_voc20b',
    'coco': 'coco-stuff164k',
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
    the same call goes on where it was. To be called by all processes of a
    distributed launch; the images that are left are shared out among them.

    Args:
        config: Config of the model, by path or bare name; its
            ``test_pipeline`` prepares the images of every benchmark.
        checkpoint: Weights, ours or a published file.
        datasets: Benchmarks (keys of ``BENCHMARKS``), or configs, which say
            all themselves: test data, metric, and a model that takes the same
            weights. It is built anew only if it is another one.
        work_dir: Folder for results: ``results.json``, ``.csv``, ``.md``,
            and ``evaluate.log`` with the tables of classes.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        cfg_options: Settings to override in the config.
        output_dir: Folder for predicted label maps.

    Returns:
        The results. Data sets whose files are missing are skipped.

    Raises:
        FileNotFoundError: If config or checkpoint do not exist.
        ValueError: If the checkpoint does not fit the config, or the work
            folder holds results of another evaluation.
    """
    cfg = read_config(config, cfg_options)
    cfg.launcher = launcher
    benchmarks = {key: _benchmark(key, cfg, cfg_options) for key in datasets}
    work_dir = Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    _init_processes(cfg)
    _log_to(work_dir / 'evaluate.log')
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    evaluation = Evaluation()
    built = _build_datasets(benchmarks, evaluation.skipped)
    fp16 = cfg.get('test_cfg', {}).get('fp16', False)
    model, loaded = None, None
    for key, dataset in built.items():
        benchmark = benchmarks[key]
        if model is None or _network(benchmark) != loaded:
            model, digest = _load(benchmark, checkpoint)
            loaded = _network(benchmark)
        own = benchmark.model.vocabulary if key not in BENCHMARKS else None
        model.set_vocabulary(own or dataset.vocabulary)
        model.vocabulary.check_labels(len(dataset.metainfo['classes']), key)
        settings = _settings(benchmark, model, digest, fp16)
        metric = _build_metric(benchmark, model, output_dir, key)
        progress = EvaluationProgress(work_dir / Path(key).stem, settings)
        workers = benchmark.test_dataloader.get('num_workers', 0)
        with autocast(enabled=fp16):
            counts = _count(model, dataset, metric, progress, workers, key)
        if get_dist_info()[0] == 0:
            evaluation.rows.append(
                dict(
                    dataset=key,
                    images=len(dataset),
                    metrics=metric.compute_metrics(counts),
                    settings=settings,
                )
            )
            write_reports(work_dir, evaluation.rows, evaluation.skipped)
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
    base = Config.fromfile(
        resource('configs', '_base_', 'datasets', f'{BENCHMARKS[key]}.py')
    )
    base.test_dataloader.dataset.pipeline = cfg.test_pipeline
    base.model = copy.deepcopy(cfg.model)
    return base


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


def _network(benchmark: Config) -> dict[str, Any]:
    """What makes a model another one than that of the data set before."""
    model = benchmark.to_dict()['model']
    return {k: v for k, v in model.items() if not k.endswith('vocabulary')}


def _load(
    benchmark: Config, checkpoint: str | Path
) -> tuple[BaseOpenVocabSegmentor, str]:
    """Build the model; return it and the SHA-256 of its weights."""
    model = init_model(benchmark, None, get_device())
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
        vocabulary=model.vocabulary.fingerprint,
        templates=model.text_bank.templates,
        synonyms=model.text_bank.synonyms,
        image_size=[
            step['scale'] for step in data['pipeline'] if 'scale' in step
        ],
        windows={
            key: value
            for key, value in model.test_cfg.items()
            if key != 'window_batch'  # of no influence
        },
        precision=str(dtype).removeprefix('torch.'),
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
    names = [
        dataset.get_data_info(index)['img_path']
        for index in range(len(dataset))
    ]
    done = progress.read()
    left = [index for index, name in enumerate(names) if name not in done]
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
            samples = model.test_step(data)
            metric.process(data, [sample.to_dict() for sample in samples])
            progress.write(file, names[index], metric.results.pop())
    barrier()
    done = progress.read()
    return [done[name] for name in names]
