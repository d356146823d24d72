# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from ovseg_mm.checkpoints import LAYOUTS
from ovseg_mm.engine import OpenVocabOptimWrapperConstructor
from ovseg_mm.utils.paths import find_config

PARITY = Path(__file__).parents[1] / 'parity'
LR, DECAY = 1e-2, 1e-3


def build(model, **paramwise_cfg):
    cfg = dict(optimizer=dict(type='AdamW', lr=LR, weight_decay=DECAY))
    return OpenVocabOptimWrapperConstructor(cfg, paramwise_cfg)(model)


def settings_of(model, wrapper) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter in the optimizer."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(parameter)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        self.tower_head = nn.Conv2d(2, 2, 1)
        self.norm = nn.GroupNorm(1, 2)
        self.words = nn.Embedding(3, 2)
        self.token = nn.Parameter(torch.zeros(2))


def test_norms_and_embeddings_do_not_decay():
    model = Small()
    found = settings_of(model, build(model))
    assert {name for name, (_, decay) in found.items() if decay == 0} == {
        *('tower.1.weight', 'tower.1.bias', 'norm.weight', 'norm.bias'),
        'words.weight',
    }
    assert {decay for _, decay in found.values()} == {0, DECAY}
    assert {lr for lr, _ in found.values()} == {LR}
    assert found.keys() == dict(model.named_parameters()).keys()


def test_named_parameters_do_not_decay():
    model = Small()
    found = settings_of(model, build(model, no_decay=('token', '.bias')))
    assert {name for name, (_, decay) in found.items() if decay} == {
        *('tower.0.weight', 'tower_head.weight'),
    }


def test_longest_prefix_counts():
    model = Small()
    found = settings_of(
        model, build(model, lr_mult={'tower': 0.1, 'tower.1': 0.5})
    )
    assert found['tower.0.bias'] == (pytest.approx(0.1 * LR), DECAY)
    assert found['tower.1.bias'] == (pytest.approx(0.5 * LR), 0)
    assert found['token'] == (LR, DECAY)


def test_prefix_ends_at_a_dot():
    model = Small()
    found = settings_of(model, build(model, lr_mult={'tower': 0.1}))
    assert found['tower_head.weight'] == (LR, DECAY)


def test_frozen_parameters_are_left_out():
    model = Small()
    model.tower.requires_grad_(False)
    found = settings_of(model, build(model, lr_mult={'tower': 0.1}))
    assert not any(name.startswith('tower.') for name in found)


def test_wrapped_model():
    model = Small()
    wrapped = nn.Module()
    wrapped.module = model
    found = settings_of(model, build(wrapped, lr_mult={'tower': 0.1}))
    assert found['tower.0.weight'] == (pytest.approx(0.1 * LR), DECAY)


def test_bad_settings():
    with pytest.raises(ValueError, match="'bias_lr_mult'.*only 'lr_mult'"):
        build(Small(), bias_lr_mult=2.0)
    with pytest.raises(ValueError, match=r"\['twoer'\], but no parameter"):
        build(Small(), lr_mult={'twoer': 0.1})


def test_nothing_to_train():
    model = Small().requires_grad_(False)
    with pytest.raises(ValueError, match='every parameter .* is frozen'):
        build(model)


def test_cat_seg_trains_as_published(monkeypatch):
    monkeypatch.syspath_prepend(PARITY)
    import cat_seg
    from seeded import load_case

    case = load_case(PARITY / 'cases' / 'cat_seg' / 'tiny_train')
    cfg = cat_seg.build_config(case)
    init_default_scope('mmseg')
    model = MODELS.build(cfg.model)
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type=cfg.optim_wrapper.constructor,
            optim_wrapper_cfg=dict(
                type='OptimWrapper', optimizer=cfg.optim_wrapper.optimizer
            ),
            paramwise_cfg=cfg.optim_wrapper.paramwise_cfg,
        )
    )
    found = settings_of(model, constructor(model))
    shapes = {entry['name']: entry['shape'] for entry in case['parameters']}
    expected = {}
    for name, *settings in case['optimizer']['table']:
        tensors = {name: torch.empty(shapes[name])}
        (own_name,) = LAYOUTS['cat_seg'].convert(tensors).state_dict
        expected[own_name] = tuple(map(pytest.approx, settings))
    assert found == expected


def test_every_config_has_the_published_schedule():
    cfg = Config.fromfile(
        find_config('catseg_clip-vit-l14-336_4xb1-80k_ade20k-640x640')
    )
    wrapper = cfg.optim_wrapper
    assert wrapper.optimizer == dict(type='AdamW', lr=2e-4, weight_decay=1e-4)
    assert wrapper.paramwise_cfg.lr_mult == dict(
        backbone=0.01, text_encoder=0.01
    )
    assert wrapper.clip_grad.max_norm == 0.01
    (schedule,) = cfg.param_scheduler
    assert schedule.T_max == cfg.train_cfg.max_iters == 80000


def test_norms_decay_if_asked_for():
    model = Small()
    found = settings_of(model, build(model, norm_decay=True))
    assert set(found.values()) == {(LR, DECAY)}


def test_wrappers_of_inner_modules_do_not_hide_prefixes():
    model = Small()
    inner = nn.Module()
    inner._fsdp_wrapped_module = nn.Module()
    inner._fsdp_wrapped_module._checkpoint_wrapped_module = model.tower
    model.tower = inner
    found = settings_of(model, build(model, lr_mult={'tower.0': 0.1}))
    stem = 'tower._fsdp_wrapped_module._checkpoint_wrapped_module'
    assert found[f'{stem}.0.weight'] == (pytest.approx(0.1 * LR), DECAY)
    assert found[f'{stem}.1.weight'] == (LR, 0)
