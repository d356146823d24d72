# SPDX-License-Identifier: Apache-2.0
"""Settings of the command line and the config that they override."""

import pytest
from mmengine.config import Config

from ovseg_mm.engine.config_options import merge_options
from ovseg_mm.utils.errors import InputError


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
