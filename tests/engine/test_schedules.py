# SPDX-License-Identifier: Apache-2.0
"""Learning rates of the shipped schedules against published formulas."""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from ovseg_mm.utils.paths import resource


def rates(name: str, iterations: list[int]) -> dict[int, float]:
    """Learning rate of each of some iterations."""
    cfg = Config.fromfile(resource('configs', f'_base_/schedules/{name}.py'))
    optimizer = torch.optim.SGD(
        [torch.zeros(1, requires_grad=True)],
        lr=cfg.optim_wrapper.optimizer.lr,
    )
    wrapper = OptimWrapper(optimizer)
    schedulers = [
        PARAM_SCHEDULERS.build(part, default_args=dict(optimizer=wrapper))
        for part in cfg.param_scheduler
    ]
    found = {}
    for iteration in range(max(iterations) + 1):
        if iteration in iterations:
            found[iteration] = optimizer.param_groups[0]['lr']
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return found


def test_scan():
    steps = [0, 1, 700, 1499, 1500, 1501, 20000]
    for step, rate in rates('adamw-6e-5_poly-120k', steps).items():
        share = min(step / 1500, 1.0)
        warmup = 1e-6 * (1 - share) + share
        decay = (1 - step / 120000) ** 0.9
        assert rate == pytest.approx(6e-5 * warmup * decay, rel=1e-5), step


def test_scan_clip():
    steps = [0, 1, 50, 99, 100, 101, 9000, 17269]
    for step, rate in rates('adamw-5e-6_cosine-17k', steps).items():
        expected = 5e-6 * (step + 1) / 100
        if step >= 100:
            share = (step - 100) / 17170
            expected = 5e-6 * (1 + math.cos(math.pi * share)) / 2
        assert rate == pytest.approx(expected, rel=1e-5, abs=1e-15), step
