# SPDX-License-Identifier: Apache-2.0
"""Test pipelines of configs, changed to run on images without labels."""

import copy
from collections.abc import Sequence

from mmengine.dataset import Compose

from ovseg_mm.utils.config_types import type_name


def image_steps(pipeline: Sequence[dict]) -> list[dict]:
    """Steps of a test pipeline that need no labels.

    Args:
        pipeline (Sequence[dict]): Steps of a test pipeline.

    Returns:
        list[dict]: Copies of the steps, without steps that load labels.
    """
    return [
        step
        for step in copy.deepcopy(list(pipeline))
        if 'Annotations' not in type_name(step)
    ]


def array_pipeline(pipeline: list[dict]) -> Compose:
    """Change a test pipeline for image files into a pipeline for arrays.

    Args:
        pipeline (list[dict]): Steps of a test pipeline; the first step
            loads the image file.

    Returns:
        Compose: Pipeline that takes ``dict(img=array)`` with a BGR image,
        (H, W, 3) uint8, and loads no labels.
    """
    steps = image_steps(pipeline)
    steps[0] = dict(
        type='LoadImageFromNDArray',
        to_float32=steps[0].get('to_float32', False),
    )
    return Compose(steps)
