# SPDX-License-Identifier: Apache-2.0
"""Measuring how fast a model predicts."""

import resource
import time
from dataclasses import dataclass

import torch
from mmseg.structures import SegDataSample
from torch import nn


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        seconds (list[float]): Of each batch, ascending.
        batch_size (int): Images a batch.
        peak_memory (int): Bytes: of the GPU's tensors, or all of the process
            on a CPU.
    """

    seconds: list[float]
    batch_size: int
    peak_memory: int

    @property
    def median(self) -> float:
        """Median of the seconds a batch takes."""
        return self.quantile(0.5)

    def quantile(self, share: float) -> float:
        """Seconds that this share of the batches does not exceed."""
        seconds = torch.tensor(self.seconds, dtype=torch.float64)
        return torch.quantile(seconds, share).item()


def measure_speed(
    model: nn.Module,
    size: tuple[int, int],
    batch_size: int = 1,
    batches: int = 100,
    warm_up: int = 10,
    amp: bool = False,
) -> Speed:
    """Time predictions of random images, from pixels to label maps.

    Normalisation, windows, fusion and the copy of the label maps to the CPU
    are included, reading of files is not. Text embeddings are computed
    before.

    Args:
        model (nn.Module): A segmentor of this package.
        size (tuple[int, int]): Height and width of the images as they leave
            the pipeline; label maps have the same.
        batch_size (int): Images a batch.
        batches (int): Batches that are timed.
        warm_up (int): Batches before, which are not.
        amp (bool): Whether in mixed precision, see :func:`amp_dtype`.
    """
    device = next(model.parameters()).device
    model.eval()
    with torch.no_grad():
        model.prepare_text()
        seconds = []
        for index in range(warm_up + batches):
            if index == warm_up and device.type == 'cuda':
                torch.cuda.reset_peak_memory_stats(device)
            batch = _random_batch(size, batch_size)
            start = _now(device)
            with torch.autocast(
                device.type, amp_dtype(device.type), enabled=amp
            ):
                for sample in model.test_step(batch):
                    sample.pred_sem_seg.data.cpu()
            if index >= warm_up:
                seconds.append(_now(device) - start)
    return Speed(sorted(seconds), batch_size, _peak_memory(device))


def amp_dtype(device_type: str) -> torch.dtype:
    """Type of mixed precision: float16 on GPUs, bfloat16 on CPUs."""
    return torch.bfloat16 if device_type == 'cpu' else torch.float16


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
