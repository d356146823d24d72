# SPDX-License-Identifier: Apache-2.0
"""Measurement of each stage of a prediction or a training step."""

import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import OptimWrapper

from ovseg_mm.inference import Labelling, ScoreMap
from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor
from ovseg_mm.models.text_encoder.text_side import TextSide
from ovseg_mm.visualization import draw_overlay

from .replacing import replaced


@dataclass(frozen=True)
class Cost:
    """Time and page faults of measured code.

    Attributes:
        seconds (float): Elapsed seconds.
        user (float): CPU seconds of all threads in user mode.
        system (float): CPU seconds of all threads in kernel mode.
        faults (int): Minor page faults.
    """

    seconds: float = 0.0
    user: float = 0.0
    system: float = 0.0
    faults: int = 0

    @property
    def cpu(self) -> float:
        """CPU seconds, user and system."""
        return self.user + self.system

    @classmethod
    def now(cls) -> 'Cost':
        """Read the time and page-fault counters of this process.

        Only differences of two such values are meaningful.
        """
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(
            time.perf_counter(),
            used.ru_utime,
            used.ru_stime,
            used.ru_minflt,
        )

    def __add__(self, other: 'Cost') -> 'Cost':
        return Cost(
            self.seconds + other.seconds,
            self.user + other.user,
            self.system + other.system,
            self.faults + other.faults,
        )

    def __sub__(self, other: 'Cost') -> 'Cost':
        return Cost(
            self.seconds - other.seconds,
            self.user - other.user,
            self.system - other.system,
            self.faults - other.faults,
        )


class StageClock:
    """Measures the time and page faults of named stages, see :class:`Cost`.

    The cost of a stage does not include the stages inside it.

    >>> clock = StageClock()
    >>> with clock.stage('head'):
    ...     with clock.stage('text'):
    ...         embed()
    ...     decode()
    >>> clock.costs['head']  # cost of decode(), without embed()

    Attributes:
        costs (dict[str, Cost]): Cost of each stage, by its name.
    """

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}
        # For each running stage, the costs of the stages inside it.
        self._inner: list[Cost] = []

    @property
    def total(self) -> Cost:
        """Sum of the costs of all stages."""
        return sum(self.costs.values(), Cost())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the code in the ``with`` block as part of a stage.

        The time and page faults are added to the cost of the stage.

        Args:
            name (str): Name of the stage.

        Yields:
            None: While the code is measured.
        """
        self._inner.append(Cost())
        begin = Cost.now()
        try:
            yield
        finally:
            whole = Cost.now() - begin
            own = whole - self._inner.pop()
            self.costs[name] = self.costs.get(name, Cost()) + own
            if self._inner:
                self._inner[-1] += whole

    @contextmanager
    def watching(
        self, owner: object, method: str, name: str
    ) -> Iterator[None]:
        """Measure the calls of a method as part of a stage.

        The method is replaced while the ``with`` block runs.

        Args:
            owner (object): Object or class that has the method.
            method (str): Name of the method.
            name (str): Name of the stage.

        Yields:
            None: While the calls are measured.
        """
        original: Callable = getattr(owner, method)

        @wraps(original)
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return original(*args, **kwargs)

        with replaced(owner, method, counted):
            yield

    @contextmanager
    def watching_model(self, model: BaseOpenVocabSegmentor) -> Iterator[None]:
        """Measure each part of a model as a separate stage.

        Methods of the parts are replaced while the ``with`` block runs.

        Args:
            model (BaseOpenVocabSegmentor): The model.

        Yields:
            None: While the parts are measured.
        """
        places: list[tuple[Any, str, str]] = [
            (model.data_preprocessor, 'forward', 'preprocess'),
            (TextSide, 'embeddings', 'text'),
            (ScoreMap, 'of', 'fuse and resize'),
            (Labelling, 'labels', 'labels'),
        ]
        for part, name in (
            ('backbone', 'image tower'),
            ('neck', 'image tower'),
            ('context_encoder', 'image tower'),
            ('decode_head', 'head'),
            ('region_encoder', 'regions'),
        ):
            if getattr(model, part, None) is not None:
                places.append((getattr(model, part), 'forward', name))
        with ExitStack() as stack:
            for place in places:
                stack.enter_context(self.watching(*place))
            yield


def measure_prediction(
    model: BaseOpenVocabSegmentor, pipeline: Compose, file: Path
) -> StageClock:
    """Measure the stages of one prediction.

    The first stage reads the image file. The last stage draws the overlay, the
    label map over the image.

    Args:
        model (BaseOpenVocabSegmentor): The model, in evaluation mode.
        pipeline (Compose): Test pipeline; its first transform reads the file.
        file (Path): Image file.

    Returns:
        StageClock: Costs of the stages ``read``, ``preprocess``, ``image
        tower``, ``text``, ``head``, ``regions``, ``fuse and resize``,
        ``labels``, ``draw`` and ``other``. Stages that the model does not have
        are missing. ``other`` is all code outside the other stages.
    """
    clock = StageClock()
    with torch.no_grad(), clock.watching_model(model), clock.stage('other'):
        with clock.stage('read'):
            data = pipeline.transforms[0](dict(img_path=str(file)))
        image = data['img'][..., ::-1].astype('uint8')
        with clock.stage('preprocess'):
            for transform in pipeline.transforms[1:]:
                data = transform(data)
        sample = model.test_step(pseudo_collate([data]))[0]
        labels = sample.pred_sem_seg.data[0].cpu().numpy()
        with clock.stage('draw'):
            draw_overlay(image, labels, model.vocabulary)
    return clock


def measure_training_step(
    model: BaseOpenVocabSegmentor, optim_wrapper: OptimWrapper, batch: dict
) -> StageClock:
    """Measure the stages of one training step.

    Args:
        model (BaseOpenVocabSegmentor): The model, in training mode.
        optim_wrapper (OptimWrapper): Optimizer wrapper of the model.
        batch (dict): Batch of a training data loader.

    Returns:
        StageClock: Costs of the stages of the model, see
        :func:`measure_prediction`; of ``update`` (backward pass and
        optimizer); and of ``other``.
    """
    clock = StageClock()
    with (
        clock.watching_model(model),
        clock.watching(optim_wrapper, 'update_params', 'update'),
        clock.stage('other'),
    ):
        model.train_step(batch, optim_wrapper)
    return clock


class PeakMemory:
    """Context manager that measures the peak memory of the process.

    Works on Linux only.

    Attributes:
        above (int): Peak memory while the ``with`` block runs, minus the
            memory at its beginning, in bytes.
    """

    above = 0

    def __enter__(self) -> 'PeakMemory':
        # Resets the kernel's peak.
        Path('/proc/self/clear_refs').write_text('5')
        self._before = _status('VmRSS')
        return self

    def __exit__(self, *error: object) -> None:
        # The kernel counts some pages late; ratios need a number above 0.
        self.above = max(_status('VmHWM') - self._before, 1)


def mean_costs(clocks: Sequence[StageClock]) -> dict[str, dict[str, float]]:
    """Average the costs of several measurements.

    Args:
        clocks (Sequence[StageClock]): Clock of each measurement.

    Returns:
        dict[str, dict[str, float]]: Mean of each field of :class:`Cost`, by
        name of the stage and then by name of the field.
    """
    stages = dict.fromkeys(name for clock in clocks for name in clock.costs)
    return {
        name: {
            field.name: sum(
                getattr(clock.costs.get(name, Cost()), field.name)
                for clock in clocks
            )
            / len(clocks)
            for field in fields(Cost)
        }
        for name in stages
    }


def matrix_rate(size: int = 1024, seconds: float = 0.5) -> float:
    """Measure how fast this process multiplies large float32 matrices.

    Args:
        size (int): Height and width of the matrices.
        seconds (float): Minimum duration of the measurement in CPU seconds.

    Returns:
        float: Multiply-adds per CPU second, with PyTorch's current number of
        threads.
    """
    first, second = torch.randn(2, size, size)
    torch.mm(first, second)
    begin, products = Cost.now(), 0
    while (used := (Cost.now() - begin).cpu) < seconds:
        torch.mm(first, second)
        products += 1
    return products * size**3 / used


def _status(key: str) -> int:
    """Value of the entry ``key`` in ``/proc/self/status``, in bytes."""
    text = Path('/proc/self/status').read_text()
    (line,) = (x for x in text.splitlines() if x.startswith(f'{key}:'))
    return int(line.split()[1]) * 1024
