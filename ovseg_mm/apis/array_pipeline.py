# SPDX-License-Identifier: Apache-2.0
"""Test pipelines of configs for images without labels."""

import copy
from collections.abc import Sequence

from mmengine.dataset import Compose

from ovseg_mm.utils.config_types import type_name


def image_steps(pipeline: Sequence[dict]) -> list[dict]:
    """Steps of a test pipeline that need no labels.

    Args:
        pipeline (Sequence[dict]): Steps of a test pipeline.

    Returns:
        list[dict]: Copies of the steps, without those that load labels.
    """
    return [
        step
        for step in copy.deepcopy(list(pipeline))
        if 'Annotations' not in type_name(step)
    ]


def array_pipeline(pipeline: list[dict]) -> Compose:
    """Convert a test pipeline of files to one of arrays.

    Args:
        pipeline (list[dict]): Steps for files; the first one reads them.

    Returns:
        Compose: Steps for ``dict(img=...)``, BGR, (H, W, 3) uint8.
    """
    steps = image_steps(pipeline)
    steps[0] = dict(
        type='LoadImageFromNDArray',
        to_float32=steps[0].get('to_float32', False),
    )
    return Compose(steps)
