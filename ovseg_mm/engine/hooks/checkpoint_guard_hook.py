# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor

from ovseg_mm.checkpoints import check_finite, fit_to_model, state_dict_of
from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor

from ..distributed import unwrap
from ..resume import find_starting_checkpoint


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Converts published checkpoints at loading and saves plain values only.

    A resumed run continues only from checkpoints of its own work folder.

    The segmentor itself raises if a checkpoint does not fill the model; the
    hook raises before MMEngine loads the checkpoint, and names the file.

    MMEngine also saves the histories of its log, which only smooth the printed
    averages. They are Python objects, and loaders that take weights alone
    refuse a file with such objects. The hook leaves the histories out, so that
    our checkpoints hold tensors and plain values and no code.
    """

    # Before hooks that copy the loaded weights (EMA).
    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Choose the checkpoint of a resumed run.

        Args:
            runner (Runner): Its ``load_from`` is resumed only if it is in
                the work folder.
        """
        if not runner._resume:
            return
        source = runner._load_from
        work_dir = Path(runner.work_dir).absolute()
        if source is None or Path(source).absolute().parent != work_dir:
            start = find_starting_checkpoint(runner.work_dir, source)
            runner._load_from, runner._resume = start

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Convert a checkpoint and compare it with the model.

        Args:
            runner (Runner): The runner; nothing is done if its model is not
                from this package.
            checkpoint (dict): The checkpoint; its ``state_dict`` gets our
                names.

        Raises:
            InputError: If it is a checkpoint of another method, or a learned
                tensor is missing, misshapen, not finite or has no place in
                the model, or a state of a resumed optimizer is not finite.
        """
        segmentor = unwrap(runner.model)
        if not isinstance(segmentor, BaseOpenVocabSegmentor):
            return
        where = str(runner._load_from or 'the checkpoint to resume from')
        tensors = state_dict_of(checkpoint, where)
        _, renamed = fit_to_model(segmentor, tensors, where)
        checkpoint['state_dict'] = renamed.state_dict
        if runner._resume:
            states = _tensors_in(checkpoint.get('optimizer'), 'optimizer')
            check_finite(dict(states), where)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remove or convert values that are neither tensors nor plain Python.

        Args:
            runner (Runner): Knows the iteration.
            checkpoint (dict): Changed in place.

        Raises:
            InputError: If weights are not finite; nothing is saved then.
        """
        weights = checkpoint.get('state_dict')
        if weights:
            where = f'the model after iteration {runner.iter + 1}'
            check_finite(weights, where)
        hub = checkpoint.get('message_hub')
        if hub is None:
            return
        for key in hub.pop('log_scalars', {}):
            hub['resumed_keys'].pop(key, None)
        checkpoint['message_hub'] = {'log_scalars': {}, **_plain(hub)}


def _tensors_in(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Tensors in nested dicts and lists, with names that say where."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors_in(item, f'{name}.{key}')
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _tensors_in(item, f'{name}.{index}')


def _plain(value: Any) -> Any:
    """``value`` with NumPy's numbers replaced by Python's."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value
