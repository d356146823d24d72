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
    """Hook that checks checkpoints when a run loads or saves them.

    - Resuming: the hook chooses a checkpoint in the work folder of the run,
      even if ``load_from`` names a checkpoint in another folder.
    - Loading: the hook converts parameter names in published checkpoints to
      names of this package. It raises an error that names the file if the
      checkpoint does not fit the model.
    - Saving: the hook keeps only tensors and plain Python values. It removes
      MMEngine's log histories, which are Python objects that
      ``torch.load(weights_only=True)`` refuses. The only effect is that,
      after resuming, the first averages in the log cover fewer iterations.
    """

    # Runs before hooks that copy the loaded weights (EMA).
    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Choose the checkpoint that a resumed run continues from.

        If ``load_from`` is a file in the work folder, the run continues from
        this file. Otherwise, it continues from the last checkpoint of the
        work folder. If the folder has no checkpoint, a new run starts with
        the weights of ``load_from``.

        Args:
            runner (Runner): Runner, changed in place. If it does not resume
                a run, the method does nothing.
        """
        if not runner._resume:
            return
        source = runner._load_from
        work_dir = Path(runner.work_dir).absolute()
        if source is None or Path(source).absolute().parent != work_dir:
            start = find_starting_checkpoint(runner.work_dir, source)
            runner._load_from, runner._resume = start

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Convert a loaded checkpoint and compare it with the model.

        Args:
            runner (Runner): Runner. If its model is from another package, the
                method does nothing.
            checkpoint (dict): Checkpoint, changed in place: the names in
                ``state_dict`` are replaced by parameter names of the model.

        Raises:
            InputError: If the checkpoint is from another method; if a learned
                tensor is missing, has a wrong shape, is not finite or is not
                in the model; or if a resumed optimizer state is not finite.
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
        """Check the weights, and remove objects that are not plain values.

        Args:
            runner (Runner): Runner; the error message has its iteration.
            checkpoint (dict): Checkpoint to save, changed in place.

        Raises:
            InputError: If a weight is not finite. The checkpoint is then not
                saved.
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
    """Yield all tensors in nested dicts and lists, with dotted names."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors_in(item, f'{name}.{key}')
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _tensors_in(item, f'{name}.{index}')


def _plain(value: Any) -> Any:
    """Return a copy of a value. NumPy numbers become Python numbers."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value
