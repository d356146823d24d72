# SPDX-License-Identifier: Apache-2.0
import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ovseg_mm.utils.errors import InputError

_SHOWN = 8


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Hook that ends a training when a loss is infinite or NaN.

    The hook checks the losses that the model returns. In mixed precision,
    the loss is scaled later, so an overflow of the scaled loss is ignored.

    With several processes, all processes end if one process has such a loss.
    The check does not slow down the GPU, because MMEngine's log also waits
    for the losses after each iteration.
    """

    # Runs before the checkpoint of the iteration is saved.
    priority = 'VERY_HIGH'

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> None:
        """Raise if a loss of the iteration is not finite.

        Args:
            runner (Runner): Runner; the error message has its iteration.
            batch_idx (int): Index of the batch; unused.
            data_batch (Any): Batch; the error message has the paths of its
                image files.
            outputs (Mapping[str, Any], optional): Losses by name.

        Raises:
            InputError: If a loss is not finite in this or another process.
        """
        losses = {
            name: float(torch.as_tensor(value).detach())
            for name, value in (outputs or {}).items()
            if 'loss' in name
        }
        wrong = {k: v for k, v in losses.items() if not math.isfinite(v)}
        found = len(wrong)
        if get_world_size() > 1:
            count = torch.tensor(found)
            all_reduce(count)
            found = int(count)
        if not found:
            return
        files = all_gather_object(_files_of(data_batch) if wrong else [])
        names = all_gather_object(list(wrong.items()))
        raise InputError(
            _not_finite(runner.iter + 1, sum(names, []), sum(files, []))
        )


def _not_finite(
    iteration: int, losses: list[tuple[str, float]], files: list[str]
) -> str:
    shown = ', '.join(files[:_SHOWN]) or 'unknown'
    more = f' and {len(files) - _SHOWN} more' if len(files) > _SHOWN else ''
    listed = ', '.join(
        f'{name} is {value}' for name, value in dict(losses).items()
    )
    return (
        f'the loss of iteration {iteration} is not a finite number '
        f'({listed}); files of the batch: {shown}{more}; check these files, '
        'lower the learning rate, or continue from an earlier checkpoint'
    )


def _files_of(batch: Any) -> list[str]:
    """Paths of the image files of a batch."""
    if not isinstance(batch, Mapping):
        return []
    paths = list(batch.get('crop_paths', ()))
    for sample in batch.get('data_samples', ()):
        paths.append(getattr(sample, 'metainfo', {}).get('img_path'))
    return [str(path) for path in paths if path]
