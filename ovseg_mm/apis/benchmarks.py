# SPDX-License-Identifier: Apache-2.0
"""Choice of the config with which a model is tested on a benchmark."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ovseg_mm.engine.config_options import merge_options
from ovseg_mm.engine.launch import read_config
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.model_index import (
    BENCHMARKS,
    config_of_benchmark,
    find_config_of_family,
)
from ovseg_mm.utils.paths import resource


@dataclass(frozen=True)
class Benchmark:
    """A test set and the model that is tested on it.

    Attributes:
        cfg (Config): Config with ``model``, ``test_dataloader`` and
            ``test_evaluator``.
        config (str): Name of the config that the model, the image size and
            the constants of the method (such as thresholds) are taken from.
        constants (str): End of the sentence "image size and constants ..." in
            reports: ``'of CONFIG'``, where CONFIG is the value of ``config``.
            If the package has no config of this model for the test set, the
            text says so.
    """

    cfg: Config
    config: str
    constants: str


def find_benchmark(
    key: str, cfg: Config, options: dict[str, Any] | None = None
) -> Benchmark:
    """Choose the config for testing a model on a benchmark.

    The choice is the first of these configs that exists:

    1. A shipped config that tests the network and weights of ``cfg`` on the
       benchmark, according to the metafiles.
    2. ``cfg`` itself, if it tests on the data of the benchmark.
    3. A config with the test set of the benchmark, and the model and the
       ``test_pipeline`` of ``cfg``.

    Args:
        key (str): Benchmark, a key of :data:`BENCHMARKS`. If it is the path
            or bare name of a config instead, this config is chosen, and
            ``cfg`` is not used.
        cfg (Config): Config of the model.
        options (dict, optional): Settings to override in the chosen config,
            as with ``--cfg-options``. The caller must also have applied them
            to ``cfg``, because choices 2 and 3 copy the model of ``cfg``.

    Returns:
        Benchmark: Chosen config, and the name of the config that the constants
        of the method (such as thresholds) are taken from.

    Raises:
        FileNotFoundError: If ``key`` is neither a benchmark nor a config.
        InputError: If an option cannot be set, or ``cfg`` lacks the
            ``test_pipeline`` that choice 3 needs.
    """
    given = config_of_benchmark(key)
    if given is not None:
        return _as_it_is(read_config(given, options))
    test_set = BENCHMARKS[key]
    sibling = find_config_of_family(cfg.filename, test_set)
    if sibling is not None:
        return _as_it_is(read_config(sibling, options))
    base = Config.fromfile(path_of_test_set(test_set))
    if _data(cfg) == _data(base):
        return _as_it_is(copy.deepcopy(cfg))
    if 'test_pipeline' not in cfg:
        raise InputError(
            f'{cfg.filename} has no test_pipeline, and no config of this '
            f'model is shipped for {key}; add a test_pipeline to '
            f'{cfg.filename}'
        )
    base.test_dataloader.dataset.pipeline = cfg.test_pipeline
    base.model = copy.deepcopy(cfg.model)
    base.model.pop('vocabulary', None)
    merge_options(base, options or {})
    name = Path(cfg.filename).stem
    note = f'of {name}: there is no config of this model for {key}'
    return Benchmark(base, name, note)


def path_of_test_set(test_set: str) -> Path:
    """Path of the base config of a test set.

    Args:
        test_set (str): Name of the test set, a value of :data:`BENCHMARKS`.

    Returns:
        Path: Path of the config file.
    """
    return resource('configs', '_base_', 'test_sets', f'{test_set}.py')


def _as_it_is(cfg: Config) -> Benchmark:
    name = Path(cfg.filename).stem
    return Benchmark(cfg, name, f'of {name}')


def _data(cfg: Config) -> dict[str, Any]:
    """Settings of a config that identify the data of a benchmark.

    Folder, vocabulary and pipeline are left out, because they may differ
    between configs for one benchmark.
    """
    dataset = cfg.to_dict().get('test_dataloader', {}).get('dataset', {})
    left_out = ('data_root', 'vocabulary', 'pipeline')
    return {k: v for k, v in dataset.items() if k not in left_out}
