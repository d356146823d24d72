# SPDX-License-Identifier: Apache-2.0
"""Test pipelines of configs for images in memory."""

import copy

from mmengine.dataset import Compose


def array_pipeline(pipeline: list[dict]) -> Compose:
    """Convert a test pipeline of files to one of arrays.

    Args:
        pipeline (list[dict]): Steps for files; the first one reads them.

    Returns:
        Compose: Steps for ``dict(img=...)``, BGR, (H, W, 3) uint8.
    """
    steps = [
        step
        for step in copy.deepcopy(list(pipeline))
        if 'Annotations' not in _type_name(step)
    ]
    steps[0] = dict(
        type='LoadImageFromNDArray',
        to_float32=steps[0].get('to_float32', False),
    )
    return Compose(steps)


def _type_name(step: dict) -> str:
    kind = step['type']
    return kind if isinstance(kind, str) else kind.__name__
