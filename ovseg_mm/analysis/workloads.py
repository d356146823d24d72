# SPDX-License-Identifier: Apache-2.0
"""Measurements of the benchmark; each runs in its own process."""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ovseg_mm.apis import OpenVocabInferencer
from ovseg_mm.apis import inferencer as inferencer_module
from ovseg_mm.apis.array_pipeline import image_steps
from ovseg_mm.apis.files import FileOptions, FileSegmenter
from ovseg_mm.engine.launch import build_model, read_config
from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.picture_files import find_jobs
from ovseg_mm.vocabulary import load_vocabulary, parse_classes

from .flops import count_image
from .plain import plain_path
from .replacing import replaced
from .stages import (
    Cost,
    PeakMemory,
    StageClock,
    matrix_rate,
    mean_costs,
    measure_prediction,
    measure_training_step,
)
from .synthetic import draw_image, write_training_set

# Images of a folder, and of a loop over a training set.
FOLDER_IMAGES = 32
LOADED_IMAGES = 48


@dataclass(frozen=True)
class Work:
    """Options of a measurement.

    Attributes:
        config (str): Config file, or bare name of a shipped one.
        cfg_options (dict, optional): Settings that override the config.
        classes (str, optional): Class texts, as on the command line. None:
            those of the config.
        image_size (tuple[int, int]): Height and width of image files.
        repeats (int): Number of measurements after the first one.
        threads (int): Threads of PyTorch.
        plain (bool): Whether the model computes as the papers write it, see
            :func:`plain_path`, with glibc's default settings.
    """

    config: str
    cfg_options: dict[str, Any] | None = None
    classes: str | None = None
    image_size: tuple[int, int] = (480, 640)
    repeats: int = 3
    threads: int = 1
    plain: bool = False


def predict(work: Work) -> dict[str, Any]:
    """Measure predictions of one image, from the file to the overlay.

    Args:
        work (Work): Options.

    Returns:
        dict[str, Any]: ``first`` and ``later``, costs of the stages of the
        first prediction, which encodes the class texts, and mean costs of
        the later predictions; ``memory``, peak bytes above the model;
        ``rate``, multiply-adds per CPU second of matrix products; without
        ``plain``, also ``flops``, multiply-adds of a prediction.
    """
    with _built(work) as (model, rate), tempfile.TemporaryDirectory() as name:
        pipeline = Compose(image_steps(model.cfg.test_pipeline))
        file = draw_image(Path(name) / 'image.png', work.image_size)
        with _path(work, model), PeakMemory() as memory:
            clocks = [
                measure_prediction(model, pipeline, file)
                for _ in range(1 + work.repeats)
            ]
        figures = _figures(clocks, memory, rate)
        if not work.plain:
            size = pipeline(dict(img_path=str(file)))['inputs'].shape[1:]
            figures['flops'] = count_image(model, tuple(size)).flops
    return figures


def train(work: Work) -> dict[str, Any]:
    """Measure training steps of one image.

    Args:
        work (Work): Options. ``image_size`` is the size of the files, which
            the training pipeline then crops.

    Returns:
        dict[str, Any]: ``first``, ``later``, ``memory`` and ``rate`` as in
        :func:`predict`; ``memory`` includes the state of the optimizer.
    """
    with _built(work) as (model, rate), _training_set(work) as dataset:
        batches = [
            pseudo_collate([dataset[index % len(dataset)]])
            for index in range(1 + work.repeats)
        ]
        model.train()
        optim_wrapper = build_optim_wrapper(model, model.cfg.optim_wrapper)
        with _path(work, model), PeakMemory() as memory:
            clocks = [
                measure_training_step(model, optim_wrapper, batch)
                for batch in batches
            ]
    return _figures(clocks, memory, rate)


def load(work: Work) -> dict[str, Any]:
    """Measure a data set and its training pipeline, without a model.

    Args:
        work (Work): Options.

    Returns:
        dict[str, Any]: ``later``, mean costs of each transform for an image;
        ``images``, images per CPU second, the rate of one worker.
    """
    torch.set_num_threads(work.threads)
    with _training_set(work) as dataset:
        transforms = dataset.pipeline.transforms
        clocks = []
        for index in range(LOADED_IMAGES):
            clock = StageClock()
            data = dataset.get_data_info(index % len(dataset))
            for transform in transforms:
                with clock.stage(type(transform).__name__):
                    data = transform(data)
                if data is None:  # the loader takes another image
                    break
            clocks.append(clock)
    seconds = sum(clock.total.cpu for clock in clocks)
    return dict(later=mean_costs(clocks), images=LOADED_IMAGES / seconds)


def folder(work: Work, batch_size: int) -> dict[str, Any]:
    """Measure the command ``predict`` on a folder of images.

    The class texts are encoded before the measurement.

    Args:
        work (Work): Options.
        batch_size (int): Images that go through the model together.

    Returns:
        dict[str, Any]: ``images``, images per elapsed second; ``cpu``, CPU
        seconds per image; ``memory``, peak bytes above the model.
    """
    with _built(work) as (model, _), tempfile.TemporaryDirectory() as name:
        inferencer, images = _inferencer(work, model), Path(name) / 'images'
        images.mkdir()
        for index in range(FOLDER_IMAGES):
            draw_image(images / f'{index}.jpg', work.image_size, index)
        out = Path(name) / 'out'
        out.mkdir()
        jobs = find_jobs([str(images)], out)
        options = FileOptions(out, batch_size=batch_size)
        segmenter = FileSegmenter(inferencer, model.vocabulary, options)
        list(segmenter.run(jobs[:1]))
        begin = Cost.now()
        with _path(work, model), PeakMemory() as memory:
            list(segmenter.run(jobs))
        used = Cost.now() - begin
    return dict(
        images=len(jobs) / used.seconds,
        cpu=used.cpu / len(jobs),
        memory=memory.above,
    )


WORKLOADS: dict[str, Callable[..., dict[str, Any]]] = dict(
    predict=predict, train=train, load=load, folder=folder
)


@contextmanager
def _built(work: Work) -> Iterator[tuple[BaseOpenVocabSegmentor, float]]:
    """Model of the config, and the rate of matrix products."""
    if work.plain:
        # keep_freed_memory() changes nothing if a variable of glibc is set.
        os.environ['MALLOC_ARENA_TEST'] = '8'
    torch.set_num_threads(work.threads)
    rate = matrix_rate()
    options = argparse.Namespace(
        config=work.config, cfg_options=work.cfg_options
    )
    model: Any = build_model(options, device='cpu')
    if work.classes:
        words = load_vocabulary(parse_classes([work.classes]))
        model.set_vocabulary(words)
    yield model, rate


def _inferencer(
    work: Work, model: BaseOpenVocabSegmentor
) -> OpenVocabInferencer:
    """Inferencer of a built model, which may have random weights."""
    with replaced(inferencer_module, 'build_for_images', lambda *args: model):
        return OpenVocabInferencer(work.config)


def _path(work: Work, model: BaseOpenVocabSegmentor) -> Any:
    return plain_path(model) if work.plain else nullcontext()


@contextmanager
def _training_set(work: Work) -> Iterator[BaseSegDataset]:
    """Training set of the config with synthetic files."""
    cfg: Config = read_config(work.config, work.cfg_options)
    if 'train_dataloader' not in cfg:
        raise InputError(
            f'{work.config} has no train_dataloader; leave out --train and '
            '--load, or name the config of a method that is trained'
        )
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    wanted = cfg.train_dataloader.dataset
    labels = load_vocabulary(wanted.vocabulary).num_labels
    with tempfile.TemporaryDirectory() as name:
        yield DATASETS.build(
            write_training_set(
                wanted, Path(name), min(labels, 255), work.image_size
            )
        )


def _figures(
    clocks: list[StageClock], memory: PeakMemory, rate: float
) -> dict[str, Any]:
    return dict(
        first=mean_costs(clocks[:1]),
        later=mean_costs(clocks[1:]),
        memory=memory.above,
        rate=rate,
    )
