# SPDX-License-Identifier: Apache-2.0
"""Measurements that ``tools/benchmark.py`` makes, each in a new process."""

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

# Numbers of images: in the predicted folder, and loaded for training.
FOLDER_IMAGES = 32
LOADED_IMAGES = 48


@dataclass(frozen=True)
class Work:
    """Options of a measurement.

    Attributes:
        config (str): Config file, or bare name of a shipped one.
        cfg_options (dict, optional): Settings that override the config.
        classes (str, optional): Class texts, as for the option ``--classes``.
            None: class texts of the config.
        image_size (tuple[int, int]): Height and width of image files.
        repeats (int): Number of predictions or training steps whose mean cost
            is computed. One more runs before them.
        threads (int): Number of PyTorch's threads.
        plain (bool): Whether to use the plain path, a direct implementation
            of the papers, see :func:`plain_path`. Memory is then allocated
            with glibc's default settings.
    """

    config: str
    cfg_options: dict[str, Any] | None = None
    classes: str | None = None
    image_size: tuple[int, int] = (480, 640)
    repeats: int = 3
    threads: int = 1
    plain: bool = False


def predict(work: Work) -> dict[str, Any]:
    """Measure predictions of one image.

    The first stage reads the image file. The last stage draws the overlay, the
    label map over the image.

    Args:
        work (Work): Options.

    Returns:
        dict[str, Any]: Measured numbers:

        - ``first``: costs of the stages of the first prediction, which
          encodes the class texts, see :class:`Cost`;
        - ``later``: mean costs of the stages of the later predictions;
        - ``memory``: peak memory in bytes, without the model itself;
        - ``rate``: speed of large matrix products, in multiply-adds per CPU
          second;
        - ``flops``: multiply-adds of one prediction, without the class texts;
          missing if ``work.plain`` is True.
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
    """Measure training steps with one image each.

    Args:
        work (Work): Options. ``image_size`` is the size of the image files,
            before the training pipeline crops the images.

    Returns:
        dict[str, Any]: ``first``, ``later``, ``memory`` and ``rate`` of the
        steps, as in :func:`predict`. ``memory`` includes the state of the
        optimizer.
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
    """Measure how fast a data set loads and transforms training images.

    No model is used.

    Args:
        work (Work): Options.

    Returns:
        dict[str, Any]: Measured numbers:

        - ``later``: cost of each transform for one image, see :class:`Cost`,
          by class name of the transform. It is the mean over all images, the
          first image included;
        - ``images``: number of images that one worker loads per CPU second.
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
    """Measure how fast the command ``predict`` segments a folder of images.

    The class texts are encoded before the measurement.

    Args:
        work (Work): Options.
        batch_size (int): Number of images that go through the model together.

    Returns:
        dict[str, Any]: Measured numbers:

        - ``images``: images per elapsed second;
        - ``cpu``: CPU seconds per image;
        - ``memory``: peak memory in bytes, without the model itself.
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
    """Model of the config, and the speed of large matrix products.

    The speed is the number of multiply-adds per CPU second.
    """
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
    """Inferencer with an existing model, whose weights may be random."""
    with replaced(inferencer_module, 'build_for_images', lambda *args: model):
        return OpenVocabInferencer(work.config)


def _path(work: Work, model: BaseOpenVocabSegmentor) -> Any:
    return plain_path(model) if work.plain else nullcontext()


@contextmanager
def _training_set(work: Work) -> Iterator[BaseSegDataset]:
    """Training set of the config, with synthetic images and label maps."""
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
