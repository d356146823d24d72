# SPDX-License-Identifier: Apache-2.0
"""Settings of the command line and the config that they override."""

from pathlib import Path

import pytest
from mmengine.config import Config

from ovseg_mm.engine.config_options import merge_options
from ovseg_mm.engine.launch import read_config
from ovseg_mm.utils.errors import InputError

TINY = Path(__file__).parents[1] / 'end_to_end' / 'tiny.py'


def make_config() -> Config:
    loader = dict(dataset=dict(data_root='x', label_map={0: 255, 1: 0}))
    return Config(
        dict(
            model=dict(test_cfg=dict(mode='slide', stride=[1, 2]), head=None),
            pipeline=[dict(type='A', size=1), dict(type='B')],
            val=loader,
            test=loader,
            words=['a', 'b'],
        )
    )


@pytest.mark.parametrize(
    'options',
    [
        {'model.test_cfg.mode': 'whole', 'model.new.deep': (1, 2)},
        {'pipeline.1.size': 3, 'val.dataset.data_root': '/my pets'},
        {'pipeline': [], 'load_from': 'x', 'model.test_cfg.stride': (3, 4)},
        {'model.test_cfg': {'mode': 'whole', 'crop': {'a': 1}}},
        {'model.test_cfg': {'_delete_': True, 'mode': 'whole'}},
        {'model': 'x'},
    ],
)
def test_settings_are_merged_as_mmengine_does(options):
    ours, theirs = make_config(), make_config()
    merge_options(ours, options)
    theirs.merge_from_dict(options)
    assert ours.to_dict() == theirs.to_dict()
    assert repr(ours.to_dict()) == repr(theirs.to_dict())


def test_what_mmengine_cannot_set():
    cfg = make_config()
    merge_options(
        cfg,
        {
            'model.test_cfg.stride.1': 5,
            'words.0': 'sofa, couch',
            'val.dataset.label_map': {1: 7},
            'test.dataset.label_map.0': 3,
            'model.head.type': 'Head',
        },
    )
    assert cfg.model.test_cfg.stride == [1, 5]
    assert cfg.words == ['sofa, couch', 'b']
    assert cfg.val.dataset.label_map == {0: 255, 1: 7}
    assert cfg.test.dataset.label_map == {0: 3, 1: 0}
    assert cfg.model.head.type == 'Head'


@pytest.mark.parametrize(
    'key', ['words.2', 'words.x', 'words.0.y', 'pipeline.-1']
)
def test_keys_that_lead_nowhere(key):
    cfg = make_config()
    with pytest.raises(InputError, match=f'{key} cannot be set'):
        merge_options(cfg, {key: 1})


@pytest.fixture
def cfg() -> Config:
    return Config.fromfile(TINY)


LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@pytest.mark.parametrize(
    ('key', 'places'),
    [
        ('data_root', [f'{key}.dataset.data_root' for key in LOADERS]),
        (
            'vocabulary',
            [
                'model.vocabulary',
                *[f'{key}.dataset.vocabulary' for key in LOADERS],
            ],
        ),
        ('arch.embed_dim', ['model.clip.arch.embed_dim']),
        (
            'pipeline.0.type',
            [
                'val_dataloader.dataset.pipeline.0.type',
                'test_dataloader.dataset.pipeline.0.type',
            ],
        ),
        ('vis_backends', ['visualizer.vis_backends']),
        # Not in the file at all.
        ('optimizer.lr', ['optim_wrapper.optimizer.lr']),
        ('stride', ['model.test_cfg.stride']),
    ],
)
def test_variables_of_the_file(cfg, key, places):
    before = cfg.to_dict()
    with pytest.raises(InputError, match=f'{key} cannot be set') as error:
        merge_options(cfg, {key: 'x'})
    named = str(error.value).rpartition('; set ')[2].split(', ')
    assert sorted(named) == sorted(places)
    assert cfg.to_dict() == before


def test_parts_of_texts_and_common_values():
    cfg = Config(
        dict(
            root='data/ade',
            number=4,
            wide=(512, 512),
            train_dataloader=dict(
                batch_size=4,
                dataset=dict(ann_file='data/ade/x.txt', size=[512, 512]),
            ),
        )
    )
    with pytest.raises(InputError, match='set train_dataloader.dataset.ann'):
        merge_options(cfg, {'root': 'x'})
    with pytest.raises(InputError, match='set train_dataloader.dataset.size'):
        merge_options(cfg, {'wide': (8, 8)})
    with pytest.warns(UserWarning, match="reads 'number'"):
        merge_options(cfg, {'number': 8})
    assert cfg.number == 8


def test_pipeline_of_single_images():
    with pytest.raises(InputError, match=r'set test_dat.*\.pipeline\.0\.type'):
        read_config(TINY, {'test_pipeline.0.type': 'x'})


@pytest.mark.parametrize(
    ('key', 'near'),
    [
        ('trian_cfg.max_iters', 'train_cfg'),
        ('modle.test_cfg.mode', 'model'),
        ('load_form', 'load_from'),
        ('zzz', None),
    ],
)
def test_keys_that_nothing_reads(key, near):
    with pytest.raises(InputError, match=key) as error:
        merge_options(make_config(), {key: 1})
    assert ('did you mean' in str(error.value)) == (near is not None)
    assert near is None or repr(near) in str(error.value)


def test_an_empty_list_has_no_range_of_indices():
    cfg = Config(dict(custom_hooks=[]))
    with pytest.raises(InputError, match='it is empty; set the whole list'):
        merge_options(cfg, {'custom_hooks.0.priority': 'LOW'})
