# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of predictions."""

import resource
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from torch.utils.data import DataLoader, Dataset, Subset

from ovseg_mm.inference import mixed_precision
from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor


@dataclass(frozen=True)
class Speed:
    """Times and memory of a measurement.

    Attributes:
        seconds (list[float]): Elapsed seconds of each batch, sorted ascending.
        batch_size (int): Images per batch.
        peak_memory (int): Peak memory in bytes. If the model is on a GPU, the
            memory of all tensors on the GPU; if it is on a CPU, the memory of
            the process.
    """

    seconds: list[float]
    batch_size: int
    peak_memory: int

    @property
    def median(self) -> float:
        """Median seconds per batch."""
        return self.quantile(0.5)

    @property
    def mean(self) -> float:
        """Mean seconds per batch."""
        return sum(self.seconds) / len(self.seconds)

    def quantile(self, share: float) -> float:
        """Quantile of the seconds per batch; ``share`` is in [0, 1]."""
        seconds = torch.tensor(self.seconds, dtype=torch.float64)
        return torch.quantile(seconds, share).item()


def measure_speed(
    model: BaseOpenVocabSegmentor,
    batches: Iterable[dict],
    warm_up: int = 10,
    amp: bool = False,
) -> Speed:
    """Measure the time of predictions, from pixels to label maps.

    The time includes normalisation, windows, fusion and the copy of the label
    maps to the CPU. It does not include the reading of files and the
    computation of text embeddings.

    Args:
        model (BaseOpenVocabSegmentor): The model.
        batches (Iterable[dict]): Batches of a test data loader, see
            :func:`random_batches` and :func:`image_batches`.
        warm_up (int): Number of batches at the start that are not timed.
        amp (bool): Whether to use mixed precision, see
            :func:`ovseg_mm.inference.amp_dtype`.

    Returns:
        Speed: Seconds per batch and peak memory.
    """
    device = next(model.parameters()).device
    model.eval()
    with torch.no_grad():
        model.prepare_text()
        seconds = []
        for index, batch in enumerate(batches):
            if index == warm_up and device.type == 'cuda':
                torch.cuda.reset_peak_memory_stats(device)
            size = len(batch['inputs'])
            start = _now(device)
            with mixed_precision(device, amp):
                for sample in model.test_step(batch):
                    sample.pred_sem_seg.data.cpu()
            if index >= warm_up:
                seconds.append(_now(device) - start)
    return Speed(sorted(seconds), size, _peak_memory(device))


def random_batches(
    size: tuple[int, int], batch_size: int, count: int
) -> Iterator[dict]:
    """Batches of random images.

    Args:
        size (tuple[int, int]): Height and width of the images after the
            test pipeline, and of the label maps.
        batch_size (int): Images per batch.
        count (int): Number of batches.

    Returns:
        Iterator[dict]: Batches as a test data loader returns them.
    """
    return (_random_batch(size, batch_size) for _ in range(count))


def build_test_set(cfg: Config) -> Dataset:
    """Build the test set of a config.

    Args:
        cfg (Config): A config with ``test_dataloader``.

    Returns:
        Dataset: The test set.

    Raises:
        FileNotFoundError: If files of the test set are missing.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    return DATASETS.build(cfg.test_dataloader.dataset)


def image_batches(
    dataset: Dataset, batch_size: int, count: int, workers: int = 0
) -> DataLoader:
    """Batches of the first images of a test set.

    Args:
        dataset (Dataset): See :func:`build_test_set`.
        batch_size (int): Images per batch.
        count (int): Number of batches. The test set must have at least
            ``batch_size * count`` images.
        workers (int): Number of processes that read images. 0: this process
            reads them.

    Returns:
        DataLoader: Loader of the batches.
    """
    return DataLoader(
        Subset(dataset, range(batch_size * count)),
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=pseudo_collate,
    )


def fit_counts(warm_up: int, batches: int, available: int) -> tuple[int, int]:
    """Reduce the numbers of batches if a test set is too small.

    Args:
        warm_up (int): Wanted number of batches that are not timed.
        batches (int): Wanted number of batches that are timed.
        available (int): Number of complete batches in the test set.

    Returns:
        tuple[int, int]: ``warm_up`` and ``batches``, reduced if the test set
        is too small. The sum of the reduced numbers is ``available``, their
        proportion is about the same, and at least one batch is timed.
    """
    if warm_up + batches <= available:
        return warm_up, batches
    share = warm_up * available // (warm_up + batches)
    # The very first batch takes longer.
    warm_up = min(max(share, min(warm_up, 1)), available - 1)
    return warm_up, available - warm_up


def _random_batch(size: tuple[int, int], batch_size: int) -> dict:
    return dict(
        inputs=[
            torch.randint(0, 256, (3, *size), dtype=torch.uint8)
            for _ in range(batch_size)
        ],
        data_samples=[
            SegDataSample(metainfo=dict(ori_shape=size, img_shape=size))
            for _ in range(batch_size)
        ],
    )


def _now(device: torch.device) -> float:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _peak_memory(device: torch.device) -> int:
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    # Linux counts kibibytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
