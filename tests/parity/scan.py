# SPDX-License-Identifier: Apache-2.0
"""Runs SCAN's parity cases through our config, each kind by its module."""

from collections.abc import Mapping

import numpy as np
import scan_finetuning
import scan_inference
import scan_relations
import scan_training
import torch
from common import shipped_config
from mmengine.config import Config
from scan_config import clip_model, segmentor_model

CONFIG = '_base_/models/scan_clip-vit-l14_swin-b.py'
CLIP_CONFIG = '_base_/models/scan-clip_vit-l14.py'
KINDS = dict(
    train=scan_training, finetune=scan_finetuning, sgiou=scan_relations
)


def build_config(case: Mapping) -> Config:
    """Our shipped config with the sizes of a case."""
    if case.get('kind') == 'finetune':
        return shipped_config(CLIP_CONFIG, clip_model(case))
    return shipped_config(CONFIG, segmentor_model(case))


def run(case: Mapping, model: torch.nn.Module | None) -> dict[str, np.ndarray]:
    """All outputs of a case, thinned out as the case says."""
    kind = KINDS.get(case.get('kind'), scan_inference)
    outputs = kind.run(case, model)
    return {
        name: np.asarray(torch.as_tensor(value).detach().double())
        for name, value in outputs.items()
        if name in case['outputs']
    }


def not_compared(case: Mapping) -> set[str]:
    """Outputs that are given to the run."""
    return {name for name in case['outputs'] if name.startswith('draw_')}
