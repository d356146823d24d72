# SPDX-License-Identifier: Apache-2.0
"""Bases, inheritance and metafiles of the shipped configs."""

from collections import Counter
from pathlib import Path

import pytest
from mmengine.config import Config

from ovseg_mm.utils.model_index import list_models
from ovseg_mm.utils.paths import resource

ROOT = resource('configs').resolve()
LEAVES = sorted(ROOT.glob('[!_]*/*.py'))
BASES = sorted(ROOT.glob('_base_/*/*.py'))


def bases_of(config: Path) -> list[Path]:
    """Bases that a config names."""
    names = Config._get_base_files(str(config))
    names = [names] if isinstance(names, str) else names
    return [(config.parent / name).resolve() for name in names]


def depth_of(config: Path) -> int:
    """Levels of inheritance above a config."""
    return max((1 + depth_of(base) for base in bases_of(config)), default=0)


def test_every_base_has_two_users_or_more():
    users = Counter(
        base for config in LEAVES + BASES for base in bases_of(config)
    )
    assert {base: users[base] for base in BASES if users[base] < 2} == {}


def test_inheritance_has_two_levels_at_most():
    assert [config for config in LEAVES if depth_of(config) > 2] == []


def test_every_config_is_in_one_metafile():
    listed = sorted(ROOT.parent / entry.config for entry in list_models())
    assert listed == LEAVES


def test_families_and_test_sets_of_metafiles():
    pairs = Counter()
    for entry in list_models():
        assert entry.family and entry.test_set, entry
        pairs[entry.family, entry.test_set] += 1
        config = ROOT.parent / entry.config
        above = [base for base in bases_of(config) if '_base_' in base.parts]
        parents = above or bases_of(bases_of(config)[0])
        test_sets = [b.stem for b in parents if b.parent.name == 'test_sets']
        # Classifiers of crops are not tested on images.
        crops = 'crops of' in entry.test_set
        assert test_sets == ([] if crops else [entry.test_set]), entry
    assert set(pairs.values()) == {1}


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_data_loaders_are_complete(path):
    cfg = Config.fromfile(path)
    splits = (
        ['train', 'val', 'test'] if 'train_dataloader' in cfg else ['test']
    )
    for split in splits:
        loader = cfg[f'{split}_dataloader']
        assert {'batch_size', 'num_workers', 'sampler'} <= loader.keys()
        assert f'{split}_cfg' in cfg
    assert 'test_evaluator' in cfg
    assert cfg.test_dataloader.dataset.pipeline == cfg.test_pipeline
    if 'val_dataloader' in cfg:
        assert cfg.val_dataloader == cfg.test_dataloader
        assert cfg.val_evaluator == cfg.test_evaluator
        assert cfg.train_cfg.max_iters and cfg.train_cfg.val_interval
        ends = [part.end for part in cfg.param_scheduler]
        # One schedule ends an iteration later, see the base.
        assert max(ends) - cfg.train_cfg.max_iters in (0, 1)
